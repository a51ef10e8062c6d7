"""Where every layer is right for what it was given, an output is not wrong for what adds up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.registry import load_registry
from graphquant_export.post_training import quantize_post_training
from graphquant_export.verification import (
    Comparison,
    LayerCheck,
    Limits,
    OutputCheck,
    Verification,
    verify,
)

v1 = tf.compat.v1
EXACT = Comparison(100, 0.5, "range / 255", 1.0, 0.001, 60.0, 0, 1.0, 100, 1.0)
FAR = attrs.evolve(EXACT, mean=9.0, agreement=0.5, sqnr=9.0)


def layer(own: Comparison | None) -> LayerCheck:
    """A layer whose difference from the integer reference is large."""
    return LayerCheck("a", "Conv2D", "a/Relu", "int8", own, FAR)


def found(*layers: LayerCheck, own: Comparison | None = EXACT, judged: Any = FAR) -> Verification:
    """A verification of one output that holds class scores."""
    output = OutputCheck("y", judged, judged, classes=True, own=own)
    return Verification("litert", (), 100, (output,), (), layers)


def test_ties_that_add_up_are_said_and_are_no_problem() -> None:
    """The sentence has what differs, and how exact the layers are."""
    healthy = found(layer(EXACT), layer(attrs.evolve(EXACT, mean=0.0195)))
    assert healthy.problems() == ()
    (said,) = healthy.carried()
    assert 'output "y": its top-1 agreement is 50.00%' in said
    assert "within 0.019 steps" in said or "within 0.02 steps" in said
    assert healthy.to_dict()["carried"] == [said]
    assert Verification.from_json(healthy.to_json()) == healthy
    assert found(layer(EXACT), judged=EXACT).carried() == ()


@pytest.mark.parametrize(
    "wrong",
    [
        found(),
        found(own=None),
        found(layer(EXACT), own=None),
        found(layer(EXACT), layer(None)),
        found(layer(EXACT), layer(attrs.evolve(EXACT, mean=0.03))),
        found(layer(EXACT), layer(attrs.evolve(EXACT, not_finite=1))),
        found(layer(EXACT), own=FAR),
        found(layer(EXACT), judged=attrs.evolve(FAR, not_finite=3)),
    ],
)
def test_anything_less_is_a_problem(wrong: Verification) -> None:
    """No layers, one that isn't shown or isn't exact, an output that isn't, NaN."""
    assert any('output "y"' in problem for problem in wrong.problems())
    assert wrong.carried() == ()


def test_nobody_has_to_excuse_them() -> None:
    """With `Limits.carried` below the layers' own difference the output counts."""
    healthy = found(layer(EXACT))
    assert healthy.carried(Limits(carried=0.0005)) == ()
    assert healthy.problems(Limits(carried=0.0005))


@pytest.mark.parametrize("target", ["ascend", "onnx", "litert", "mnn"])
def test_an_output_has_a_difference_of_its_own(target: str, tmp_path: Path) -> None:
    """It is next to none, whatever layers before it pass on; without `layers` it isn't known."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = y = v1.placeholder(tf.float32, [None, 8, 8, 4], "x")
        for name in "abc":
            weight = random.normal(size=(3, 3, 4, 4)).astype(np.float32) / 4
            y = tf.nn.relu(tf.nn.conv2d(y, weight, 1, "SAME", name=name))
        flat = tf.reduce_mean(y + x, [1, 2])
        tf.nn.softmax(flat, name="y")
    model = GraphDefEditor(graph.as_graph_def()).graph_def(["y"])
    samples = {"x": random.normal(size=(16, 8, 8, 4)).astype(np.float32)}
    record = quantize_post_training(model, ["y"], samples, target=target)
    artifact = load_registry().exporter(target).export(model, ["y"], record, tmp_path / "m")
    (output,) = verify(artifact, samples, layers=True).outputs
    assert output.own is not None
    assert output.own.mean <= 0.05
    assert output.own.agreement == 1.0
    assert verify(artifact, samples).outputs[0].own is None
