"""A layer that stays float is never silent: one warning, wherever a model is changed or written."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.registry import load_registry
from graphquant_export.post_training import quantize_post_training
from graphquant_wq import WeightQuantizer, quantize_frozen_weights

v1 = tf.compat.v1

FLOATS = ["b", "c", "d", "e"]
"""Of five convolutions, those that are left float."""

WHEELS = {"onnx": "onnxruntime", "litert": "ai_edge_litert", "mnn": "MNN"}
TARGETS = ["ascend", "onnx", "litert", "mnn"]


def build() -> tf.Graph:
    """Five convolutions in a row, ``a`` to ``e``."""
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(3)
        y = v1.placeholder(tf.float32, [1, 6, 6, 4], "image")
        for name in "abcde":
            kernel = v1.get_variable(f"{name}_kernel", [3, 3, 4, 4])
            y = tf.nn.relu(tf.nn.conv2d(y, kernel, 1, "SAME", name=name))
        tf.identity(y, "y")
    return graph


def frozen() -> Any:
    with build().as_default() as graph, v1.Session() as session:
        session.run(v1.global_variables_initializer())
        return v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["y"])


def samples() -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).random((1, 6, 6, 4), np.float32)}


def rewrite(folder: Path, graph: tf.Graph) -> None:
    """Quantisation-aware training of ``a`` alone."""
    config = folder / "config.json"
    amct.create_quant_retrain_config(str(config), graph)
    content = json.loads(config.read_text())
    for name in FLOATS:
        content[name]["retrain_enable"] = False
    config.write_text(json.dumps(content))
    amct.create_quant_retrain_model(graph, str(config), str(folder / "record.txt"))


def export_int8(target: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        model = frozen()
        record = quantize_post_training(model, ["y"], samples(), skip_layers=FLOATS, target=target)
        load_registry().exporter(target).export(
            model, ["y"], record, folder / "m", calibration=samples()
        )

    return run


def export_weights(target: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        found = quantize_frozen_weights(frozen(), ["y"], skip_layers=FLOATS)
        load_registry().exporter(target).export(found.graph_def, ["y"], found.params, folder / "m")

    return run


DOORS: dict[str, Callable[[Path], None]] = {
    "training": lambda folder: rewrite(folder, build()),
    "weights": lambda _: (WeightQuantizer(build(), skip_layers=FLOATS), None)[1],
    **{f"{target} int8": export_int8(target) for target in TARGETS},
    **{f"{target} weights": export_weights(target) for target in TARGETS if target != "ascend"},
}


def told(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [
        entry.getMessage()
        for entry in caplog.records
        if entry.levelno == level and " float" in entry.getMessage()
    ]


@pytest.mark.parametrize("door", DOORS)
def test_one_warning_counts_the_float_layers_and_names_three(
    door: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """How many of how many, the first three with reasons, and how to list all; at INFO, all."""
    for target, wheel in WHEELS.items():
        if door.startswith(target):
            pytest.importorskip(wheel)
    with caplog.at_level(logging.INFO):
        DOORS[door](tmp_path)
    (warning,) = told(caplog, logging.WARNING)
    assert warning.startswith("4 of 5 layers stay float")
    for name in FLOATS[:3]:
        assert f'"{name}" (Conv2D): ' in warning
    assert f'"{FLOATS[3]}"' not in warning
    assert "and 1 more" in warning
    assert "lists all" in warning
    notes = told(caplog, logging.INFO)
    for name in FLOATS:
        assert sum(f'layer "{name}" (Conv2D) stays float' in note for note in notes) == 1


def test_a_model_without_float_layers_gives_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where every layer is quantised there is nothing to say."""
    graph = build()
    config = str(tmp_path / "c.json")
    amct.create_quant_retrain_config(config, graph)
    amct.create_quant_retrain_model(graph, config, str(tmp_path / "r.txt"))
    WeightQuantizer(build())
    model = frozen()
    record = quantize_post_training(model, ["y"], samples())
    load_registry().exporter("ascend").export(model, ["y"], record, tmp_path / "m")
    assert told(caplog, logging.WARNING) == []


def test_a_second_rewrite_says_nothing_new(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that leaves a graph as it is doesn't repeat the warning."""
    graph = build()
    rewrite(tmp_path, graph)
    arguments = (graph, str(tmp_path / "config.json"), str(tmp_path / "record.txt"))
    amct.create_quant_retrain_model(*arguments)
    WeightQuantizer(graph := build(), skip_layers=FLOATS)
    WeightQuantizer(graph, skip_layers=FLOATS)
    assert len(told(caplog, logging.WARNING)) == 2


def test_ops_that_are_no_layers_are_not_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A second rewrite of a graph after its optimizer fails; what gradients compute is no layer."""
    graph = build()
    with graph.as_default():
        loss = tf.reduce_sum(graph.get_tensor_by_name("y:0"))
        tf.gradients(loss, v1.trainable_variables())
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            model = v1.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), ["y", *gradient_convolutions(graph)]
            )
    outputs = ["y", *gradient_convolutions(graph)]
    record = quantize_post_training(model, outputs, samples(), skip_layers=FLOATS)
    load_registry().exporter("ascend").export(model, outputs, record, tmp_path / "m")
    (warning,) = told(caplog, logging.WARNING)
    assert " of 5 layers stay float" in warning


def gradient_convolutions(graph: tf.Graph) -> list[str]:
    return [op.name for op in graph.get_operations() if op.type == "Conv2DBackpropInput"]


SCRIPT = """
import tensorflow as tf
from graphquant_wq import WeightQuantizer
with tf.Graph().as_default() as graph:
    y = tf.compat.v1.placeholder(tf.float32, [1, 6, 6, 4])
    for name in "ab":
        kernel = tf.compat.v1.get_variable(name + "_kernel", [3, 3, 4, 4])
        y = tf.nn.conv2d(y, kernel, 1, "SAME", name=name)
WeightQuantizer(graph, skip_layers=["b"])
"""


def test_a_script_that_sets_up_no_logging_sees_it() -> None:
    """Python shows warnings of a logger that nobody has configured."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert '1 of 2 layers stays float: "b" (Conv2D): ' in done.stderr
