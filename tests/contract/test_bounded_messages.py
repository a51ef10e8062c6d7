"""Messages stay short, however long what they are about is."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.exceptions import GraphQuantError
from graphquant_core.record import LayerFactors, Record, read_record
from graphquant_core.registry import load_registry
from graphquant_export.inputs import load_samples
from graphquant_export.inputs.feeds import checked_feeds
from graphquant_export.post_training import quantize_post_training
from graphquant_export.targets.ascend import export_ascend
from graphquant_export.verification import verify
from graphquant_wq import WeightQuantizer, quantize_frozen_weights

v1 = tf.compat.v1

MANY = 30_000
NAMES = [f"tower/{'x' * 20}/layer_{index}" for index in range(MANY)]
LONGEST = 3100


def build(inputs: int = 1) -> tf.Graph:
    """A dense layer over many inputs."""
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(1)
        parts = [v1.placeholder(tf.float32, [None, 4], f"x{index}") for index in range(inputs)]
        y = parts[0] if inputs == 1 else tf.add_n(parts)
        tf.matmul(y, v1.get_variable("w", [4, 3]), name="dense")
    return graph


def freeze(graph: tf.Graph) -> Any:
    with graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        return v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["dense"]
        )


@pytest.fixture(scope="module")
def model() -> Any:
    return freeze(build(inputs=300))


def feeds() -> dict[str, np.ndarray]:
    return {f"x{index}": np.ones((2, 4), np.float32) for index in range(300)}


def test_a_record_with_too_many_layers_gives_a_short_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Layers that freezing dropped are counted, and eight are named."""
    graph, config, record_file = build(), tmp_path / "c.json", tmp_path / "r.txt"
    amct.create_quant_retrain_config(config, graph)
    operations = amct.create_quant_retrain_model(graph, config, record_file)
    with graph.as_default():
        loss = tf.reduce_sum(tf.square(graph.get_tensor_by_name("dense:0")))
        step = v1.train.GradientDescentOptimizer(0.01).minimize(loss)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            session.run(step, {"x0:0": np.ones((2, 4), np.float32)})
            session.run(operations[-1])
            frozen = v1.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), ["dense"]
            )
    record = read_record(record_file)
    surplus = {name: LayerFactors(0.1, 0, [0.1]) for name in NAMES}
    with caplog.at_level(logging.WARNING):
        export_ascend(frozen, ["dense"], Record({**record, **surplus}), tmp_path / "m")
    (said,) = (line for line in caplog.messages if "don't need" in line)
    assert len(said) < LONGEST
    assert f"and {MANY - 8} more" in said


def wrong_calls(model: Any, folder: Path) -> dict[str, Callable[[], Any]]:
    """Calls that fail, each given something long."""
    np.savez(folder / "many.npz", **{f"other{index}": np.ones(1) for index in range(500)})
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(model, name="")
    record = quantize_post_training(model, ["dense"], feeds())
    artifact = export_ascend(model, ["dense"], record, folder / "m")
    config = folder / "long.json"
    amct.create_quant_retrain_config(config, build())
    content = json.loads(config.read_text())
    content["dense"]["retrain_enable"] = NAMES
    config.write_text(json.dumps(content))
    quantize: Any = quantize_frozen_weights
    return {
        "placeholders": lambda: checked_feeds(graph, {"other": np.ones(1)}),
        "samples": lambda: load_samples(folder / "many.npz", list(feeds())),
        "outputs": lambda: quantize_post_training(model, NAMES, feeds()),
        "no outputs": lambda: quantize_post_training(model, dict.fromkeys(NAMES), feeds()),  # type: ignore[arg-type]
        "record": lambda: export_ascend(
            model, ["dense"], Record(dict.fromkeys(NAMES, record["dense"])), folder / "n"
        ),
        "target": lambda: load_registry().exporter("x" * MANY),
        "targets": lambda: quantize_post_training(model, ["dense"], feeds(), target=NAMES),
        "bits": lambda: quantize(model, ["dense"], NAMES),
        "flag": lambda: quantize(model, ["dense"], asymmetric=NAMES),
        "layer bits": lambda: quantize(model, ["dense"], layer_bits=NAMES),
        "skips": lambda: WeightQuantizer(build(), skip_layers="x" * MANY),
        "no layer": lambda: WeightQuantizer(build(), skip_layers=["x" * MANY]),
        "labels": lambda: verify(artifact, feeds(), labels={"x" * MANY: [1]}),
        "classes": lambda: verify(artifact, feeds(), classes=["x" * MANY]),
        "path": lambda: export_ascend(model, ["dense"], record, NAMES),  # type: ignore[arg-type]
        "config": lambda: amct.create_quant_retrain_model(build(), config, folder / "r.txt"),
        "level": lambda: amct.set_logging_level(NAMES),  # type: ignore[arg-type]
    }


def test_errors_about_long_things_are_short(model: Any, tmp_path: Path) -> None:
    """Names, lists, texts and values: whatever was given, the error can be read."""
    for name, call in wrong_calls(model, tmp_path).items():
        with pytest.raises(GraphQuantError) as caught:
            call()
        assert len(str(caught.value)) < LONGEST, name
