"""A folder of images as samples of a model's only input."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, GraphQuantError, ModelFileError
from graphquant_export.inputs import LoadedModel, load_samples

v1 = tf.compat.v1
RANDOM = np.random.default_rng(3)


def model_of(shape: list[int | None], dtype: tf.DType = tf.float32, name: str = "x") -> LoadedModel:
    """A model with one input."""
    with tf.Graph().as_default() as graph:
        tf.identity(v1.placeholder(dtype, shape, name), name="y")
    return LoadedModel(graph.as_graph_def(), (name,), ("y",))


def written(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Writes a random image as PNG, which loses nothing; returns its pixels."""
    pixels = RANDOM.integers(0, 256, shape).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    tf.io.write_file(str(path), tf.io.encode_png(pixels))
    return pixels


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A folder with subfolders, and its images in the order of their paths."""
    paths = ["cats/a.png", "cats/b.png", "dogs/a.PNG"]
    pixels = [written(tmp_path / "photos" / path, (6, 8, 3)) for path in paths]
    (tmp_path / "photos" / ".hidden").write_text("not looked at")
    return tmp_path / "photos", np.stack(pixels)


@pytest.mark.parametrize(
    ("image_range", "low", "high"), [(None, 0, 1), ((-1, 1), -1, 1), ([0, 255], 0, 255)]
)
def test_0_and_255_become_the_ends_of_the_range(
    photos: tuple[Path, np.ndarray], image_range: Any, low: float, high: float
) -> None:
    """All between in a straight line; the images are in the order of their paths, and mapped."""
    folder, pixels = photos
    found = load_samples(folder, model_of([None, 6, 8, 3]), image_range=image_range)["x"]
    assert isinstance(found, np.memmap)
    assert found.dtype == np.float32
    expected = low + pixels.astype(np.float64) / 255 * (high - low)
    np.testing.assert_allclose(found, expected, atol=3e-7 * max(abs(low), abs(high)))


def test_integers_take_the_pixels_themselves(photos: tuple[Path, np.ndarray]) -> None:
    """0 to 255, whatever floats would be."""
    folder, pixels = photos
    found = load_samples(folder, model_of([None, 6, 8, 3], tf.uint8))["x"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels)
    with pytest.raises(ConfigError, match="does not fit into uint8"):
        load_samples(folder, model_of([None, 6, 8, 3], tf.uint8), image_range=(-1, 1))


def test_images_get_the_height_and_the_width_of_the_input(photos: tuple[Path, np.ndarray]) -> None:
    """As TensorFlow resizes them; the mean stays."""
    folder, pixels = photos
    found = load_samples(folder, model_of([None, 3, 4, 3]), image_range=(0, 255))["x"]
    expected = tf.image.resize(pixels, [3, 4], antialias=True)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert abs(found.mean() - pixels.mean()) < 4


def test_channels_may_come_first(photos: tuple[Path, np.ndarray]) -> None:
    """In an input of [N, 3, H, W]."""
    folder, pixels = photos
    found = load_samples(folder, model_of([None, 3, 6, 8]), image_range=(0, 255))["x"]
    np.testing.assert_array_equal(found, pixels.transpose(0, 3, 1, 2))


def test_jpeg_and_bmp_are_decoded(tmp_path: Path) -> None:
    """Each is near what was written."""
    grey = np.full((4, 4, 3), 128, np.uint8)
    tf.io.write_file(str(tmp_path / "a.jpg"), tf.io.encode_jpeg(grey))
    head = b"BM" + np.array([54 + 48, 0, 54, 40, 4, 4], "<u4").tobytes()
    head += np.array([1, 24], "<u2").tobytes() + np.zeros(6, "<u4").tobytes()
    (tmp_path / "b.bmp").write_bytes(head + grey.tobytes())
    found = load_samples(tmp_path, model_of([None, 4, 4, 3]), image_range=(0, 255))["x"]
    np.testing.assert_allclose(found, np.stack([grey, grey]), atol=2)


def test_the_default_range_is_told_once(
    photos: tuple[Path, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    """As a warning, since a model that was trained on other values is quantised wrongly."""
    folder, _ = photos
    with caplog.at_level(logging.WARNING):
        load_samples(folder, model_of([None, 6, 8, 3]), "samples")
        load_samples(folder, model_of([None, 6, 8, 3]), "samples", image_range=(0, 1))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "3 images" in line
    assert "6 x 8" in line
    assert "0 to 1" in line
    assert "image_range" in line


def test_what_is_no_image_is_named(photos: tuple[Path, np.ndarray]) -> None:
    """Text, and a PNG that is cut off."""
    folder, _ = photos
    (folder / "cats" / "labels.txt").write_text("0 1")
    with pytest.raises(
        ModelFileError, match=r"labels\.txt\) is no image.*alone: Unknown image file"
    ):
        load_samples(folder, model_of([None, 6, 8, 3]))
    (folder / "cats" / "labels.txt").unlink()
    cut = folder / "cats" / "b.png"
    cut.write_bytes(cut.read_bytes()[:60])
    with pytest.raises(ModelFileError, match=r"b\.png\) is no image"):
        load_samples(folder, model_of([None, 6, 8, 3]))


@pytest.mark.parametrize(
    ("channels", "said"), [(1, "has 1 channel"), (4, "has 4 channels")], ids=["grey", "alpha"]
)
def test_other_channels_than_the_model_takes_are_named(
    photos: tuple[Path, np.ndarray], channels: int, said: str
) -> None:
    """One such image among others: the error names it, and what the input takes."""
    folder, _ = photos
    written(folder / "cats" / "c.png", (6, 8, channels))
    with pytest.raises(ConfigError, match=rf'c\.png\) {said}; "x" takes 3'):
        load_samples(folder, model_of([None, 6, 8, 3]))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (model_of([None, None, None, 3]), r"x=\?,224,224,3"),
        (model_of([None, 10]), "give the samples as a .npy"),
        (model_of([None, 8, 8, 16]), "give the samples as a .npy"),
        (LoadedModel(v1.GraphDef(), ("left", "right"), ("y",)), "several inputs"),
        (["x"], "the model that load_model returned"),
    ],
)
def test_a_model_that_takes_no_images_gets_no_folder(
    photos: tuple[Path, np.ndarray], model: Any, message: str
) -> None:
    """The error says what to give instead."""
    with pytest.raises(ConfigError, match=message):
        load_samples(photos[0], model)


@pytest.mark.parametrize("image_range", [(1,), (0, 0), "01x", (0, float("nan")), 3, (0, 1, 2)])
def test_a_wrong_range_is_refused(photos: tuple[Path, np.ndarray], image_range: Any) -> None:
    """Before an image is read."""
    with pytest.raises(ConfigError, match="image_range"):
        load_samples(photos[0], model_of([None, 6, 8, 3]), image_range=image_range)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """And one whose files are all hidden."""
    (tmp_path / ".hidden").write_text("")
    with pytest.raises(GraphQuantError, match="is a folder without files"):
        load_samples(tmp_path, model_of([None, 6, 8, 3]))


def test_a_range_is_of_images_alone(tmp_path: Path) -> None:
    """An array has its values already."""
    np.save(tmp_path / "x.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(ConfigError, match="image_range is for a folder of images"):
        load_samples(tmp_path / "x.npy", ["x"], image_range=(0, 1))
