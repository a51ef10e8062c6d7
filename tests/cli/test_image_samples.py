"""Folders of images in place of arrays, for every command that takes samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.record import read_record

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(a folder of 12 images of 6 x 6 with 4 channels, the same from -1 to 1 as a .npy)."""
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 4)).astype(np.uint8)
    for number, image in enumerate(pixels):
        tf.io.write_file(str(folder / f"{number:02}.png"), tf.io.encode_png(image))
    array = tmp_path_factory.mktemp("array") / "images.npy"
    np.save(array, (-1 + pixels * np.float32(2 / 255)).astype(np.float32))
    return folder, array


def test_a_folder_and_its_array_are_the_same(
    graphquant: Run, files: Any, photos: tuple[Path, Path], tmp_path: Path
) -> None:
    """`quantize` finds the same record, and `verify`, `sensitivity` and `tune` say the same."""
    folder, array = photos
    ways = {"folder": (folder, "--image-range", "-1,1"), "array": (array,)}
    records, said = [], []
    for name, (samples, *more) in ways.items():
        prefix = tmp_path / name
        export = ("--target", "ascend", "--output", "prob", "--save-path", prefix, *more)
        quantized = graphquant("quantize", files.model, "--calibration", samples, *export)
        assert (quantized.exit_code, quantized.stderr) == (0, "")
        records.append(read_record(f"{prefix}_record.txt"))
        verified = graphquant(
            "verify", files.model, "--record", f"{prefix}_record.txt", "--samples", samples, *export
        )
        costs = graphquant(
            "sensitivity", files.model, "--samples", samples, "--output", "prob", *more
        )
        tuned = graphquant("tune", files.model, "--samples", samples, "--steps", 0, *export)
        assert tuned.exit_code == 0, tuned.stderr
        said.append((verified.stdout, costs.stdout, tuned.stdout.split("wrote")[0]))
    assert records[0] == records[1]
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--calibration", "{folder}", "--image-range", "zero"), '--image-range ("zero") must be'),
        (
            ("--calibration", "{folder}", "--image-range", "1,1"),
            "--image-range ([1.0, 1.0]) must be",
        ),
        (("--calibration", "{array}", "--image-range", "0,1"), "is for a folder of images"),
        (("--weight-only", "--image-range", "0,1"), "which --samples gives"),
    ],
)
def test_a_range_that_means_nothing_is_one_error(
    graphquant: Run,
    files: Any,
    photos: tuple[Path, Path],
    tmp_path: Path,
    more: tuple[str, ...],
    message: str,
) -> None:
    """And no file."""
    given = [text.format(folder=photos[0], array=photos[1]) for text in more]
    options = ("--target", "ascend", "--save-path", tmp_path / "m", "--output", "prob")
    outcome = graphquant("quantize", files.model, *options, *given)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert not list(tmp_path.iterdir())
