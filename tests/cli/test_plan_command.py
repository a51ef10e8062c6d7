"""`graphquant plan`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

Run = Callable[..., Any]

_LONG_NAME = "scope/" * 40 + "conv"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frozen graph: one Conv2D of float32, one of float64, and ops that no handler knows."""
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, [1, 8, 8, 32], name="image")
        weight = tf.constant(np.ones((3, 3, 32, 4), np.float32))
        tf.nn.relu(tf.nn.conv2d(image, weight, 1, "SAME", name=_LONG_NAME))
        double = tf.cast(image, tf.float64)
        tf.nn.conv2d(double, tf.cast(weight, tf.float64), 1, "SAME", name="double")
    path = tmp_path_factory.mktemp("model") / "model.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def test_json_holds_every_known_op_once(graphquant: Run, model: Path) -> None:
    """--json prints one document in which each Conv2D of the file is a layer or a skip."""
    outcome = graphquant("plan", model, "--json")
    assert outcome.exit_code == 0
    plan = json.loads(outcome.stdout)
    assert [layer["name"] for layer in plan["layers"]] == [_LONG_NAME]
    assert [skip["name"] for skip in plan["skips"]] == ["double"]
    assert plan["layers"][0]["weight_shape"] == [3, 3, 32, 4]


def test_each_op_is_one_line_in_a_pipe(graphquant: Run, model: Path) -> None:
    """In a pipe an op's line holds its whole name, its decision and its reason."""
    outcome = graphquant("plan", model)
    assert outcome.exit_code == 0
    rows = {line.split()[0]: line for line in outcome.stdout.splitlines() if "Conv2D" in line}
    assert set(rows) == {_LONG_NAME, "double"}
    assert rows[_LONG_NAME].split()[1:4] == ["Conv2D", "quantise", "4"]
    assert "float64" in rows["double"]
    assert outcome.stdout.rstrip().endswith("1 quantised, 1 skipped")


def test_inputs_and_outputs_are_named(graphquant: Run, files: Any) -> None:
    """What the plan is about: the placeholders, and the ops that nothing takes."""
    lines = graphquant("plan", files.model).stdout.splitlines()
    assert "inputs: images" in lines
    assert "outputs: similarity, prob" in lines
    plan = json.loads(graphquant("plan", files.model, "--output", "prob", "--json").stdout)
    assert (plan["inputs"], plan["outputs"]) == (["images"], ["prob"])
    assert "similarity" not in {row["name"] for row in plan["skips"]}


def test_the_plan_for_weights_alone(graphquant: Run, files: Any) -> None:
    """--weight-only has the layers whose weights MNN quantises: no pooling."""
    plan = json.loads(graphquant("plan", files.model, "--weight-only", "--json").stdout)
    assert [layer["name"] for layer in plan["layers"]] == ["conv", "dense"]
