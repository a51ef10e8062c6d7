"""A file that was changed behind our back: the layer is named, and nothing of the whole one is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.record import Record
from graphquant_core.registry import load_registry
from graphquant_export.post_training import quantize_post_training
from graphquant_export.quantized.simulate import simulate
from graphquant_export.verification import Limits, Verification, verify

v1 = tf.compat.v1
TARGETS = ("onnx", "litert", "mnn")
SIZES = (8, 12, 10, 6)
LAYER, NUMBER = "second/conv", 1
CLOSE = Limits(own_mean=0.05, largest=4)


@attrs.frozen(eq=False)
class Exported:
    """An artifact with what it was made of."""

    target: str
    artifact: Any
    record: Record
    codes: np.ndarray

    def verified(self) -> Verification:
        """On samples of its own."""
        return verify(self.artifact, {"x": images(32, 1)}, layers=True, limits=CLOSE)

    def replace(self, old: bytes, new: bytes) -> int:
        """How often `old` stood in the file, in whose place `new` stands then."""
        path = Path(self.artifact.paths[0])
        content = path.read_bytes()
        path.write_bytes(content.replace(old, new))
        return content.count(old)


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 6, 6, SIZES[0])).astype(np.float32)


@pytest.fixture(params=TARGETS)
def exported(request: Any, tmp_path: Path) -> Exported:
    """Three convolutions of one pixel, whose weights every format holds in one order."""
    random = np.random.default_rng(2)
    with tf.Graph().as_default() as graph:
        y = v1.placeholder(tf.float32, [None, 6, 6, SIZES[0]], "x")
        for name, taken, given in zip(
            ("first", "second", "third"), SIZES[:-1], SIZES[1:], strict=True
        ):
            weight = random.normal(0, 1 / np.sqrt(taken), (1, 1, taken, given)).astype(np.float32)
            y = tf.nn.conv2d(y, weight, 1, "SAME", name=f"{name}/conv")
            bias = random.normal(0, 0.1, given).astype(np.float32)
            y = tf.nn.relu(tf.nn.bias_add(y, bias, name=f"{name}/bias"), name=f"{name}/relu")
        tf.identity(y, name="out")
    model, target = graph.as_graph_def(), request.param
    feeds = {"x": images(64, 0)}
    record = quantize_post_training(model, ["out"], feeds, target=target)
    exporter = load_registry().exporter(target)
    artifact = exporter.export(model, ["out"], record, tmp_path / "m", calibration=feeds)
    codes = simulate(model, ["out"], record).layers[NUMBER].weight_codes
    assert codes is not None
    return Exported(target, artifact, record, codes)


def test_an_untouched_file_is_right(exported: Exported) -> None:
    """Within limits under which each of the changes below is found."""
    assert exported.verified().ok()


def test_a_changed_scale_is_found_in_its_layer(exported: Exported) -> None:
    """The scale of one of its channels."""
    scale = exported.record[LAYER].scale_w
    assert scale is not None
    scale = scale[3:4].astype("<f4")
    assert exported.replace(scale.tobytes(), (scale * np.float32(1.4)).tobytes()) >= 1
    named(exported.verified())


def test_a_changed_code_is_found_in_its_layer(exported: Exported) -> None:
    """One weight of 120, by half of the range."""
    rows = exported.codes.reshape(SIZES[1], SIZES[2]).T.copy()
    changed = rows.copy()
    changed[3, 5] = np.int8(rows[3, 5]) ^ np.int8(0x40)
    offset = 128 if exported.target == "mnn" else 0
    old, new = (
        (each.astype(np.int16) + offset).astype(np.uint8).tobytes() for each in (rows, changed)
    )
    assert exported.replace(old, new) == 1
    named(exported.verified())


def test_a_renamed_layer_is_missing(exported: Exported) -> None:
    """Under another name in the whole file, which computes the same."""
    for name in ("second/conv", "second/bias", "second/relu"):
        exported.replace(name.encode(), name.replace("sec", "tri").encode())
    found = exported.verified()
    assert not found.ok()
    assert any(f'"{LAYER}"' in problem for problem in found.problems())


def named(found: Verification) -> None:
    assert not found.ok()
    first = found.first_divergence()
    assert first is not None
    assert first.layer == LAYER
