"""create_quant_retrain_model rewrites a live graph, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings

import graphquant_qat as amct
from graphquant_core.exceptions import (
    ConfigError,
    FileWriteError,
    GradientsExistError,
    GraphStateError,
    NoLayersError,
    SessionExistsError,
    UnknownNameError,
)
from graphquant_core.graph import Rewrite, plan_graph
from graphquant_core.grid import Grid
from graphquant_core.record import parse_record
from graphquant_core.target_rules import TargetRules
from graphquant_core.testing.graphs import GraphSpec, build_graph, graph_specs
from graphquant_qat.config.defaults import default_config
from graphquant_qat.graph.insert import Quantized, insert_quantizers

v1 = tf.compat.v1


def initialise(session: v1.Session) -> None:
    session.run([op for op in session.graph.get_operations() if op.name.endswith("/Assign")])


def configured(graph: tf.Graph, folder: Path) -> tuple[str, str]:
    config_file, record_file = str(folder / "config.json"), str(folder / "record.txt")
    amct.create_quant_retrain_config(config_file, graph)
    return config_file, record_file


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(graph_specs(max_layers=3))
def test_a_fine_grid_leaves_what_a_random_graph_computes_unchanged(spec: GraphSpec) -> None:
    """At 16 bits the rewritten graph gives the float results to 2e-3 of their size."""
    built = build_graph(spec)
    batch = built.batch(4)
    with v1.Session(graph=built.graph) as session:
        initialise(session)
        expected = session.run(built.output, {built.input: batch})
    plan = plan_graph(built.graph)
    with Rewrite(built.graph) as rewrite:
        insert_quantizers(
            rewrite,
            plan,
            default_config(plan),
            Quantized(),
            TargetRules(),
            Grid(16, narrow=False),
            Grid(16, narrow=True),
        )
    quantized = {op.name for op in built.graph.get_operations() if "FakeQuant" in op.type}
    assert len(quantized) == len(plan.layers)
    with v1.Session(graph=built.graph) as session:
        initialise(session)
        actual = session.run(built.output, {built.input: batch})
    assert np.abs(actual - expected).max() <= 2e-3 * max(np.abs(expected).max(), 1e-3)


def test_calling_it_again_changes_no_input(network: Callable[[bool], Any], tmp_path: Path) -> None:
    """Idempotent: one quantiser for each input, and both results write the same record."""
    graph = network(False).graph
    config_file, record_file = configured(graph, tmp_path)
    first = amct.create_quant_retrain_model(graph, config_file, record_file)
    count = sum(op.type == "FakeQuantWithMinMaxVars" for op in graph.get_operations())
    second = amct.create_quant_retrain_model(graph, config_file, record_file)
    again = sum(op.type == "FakeQuantWithMinMaxVars" for op in graph.get_operations())
    assert count == again == 5
    assert first[-1].name != second[-1].name


def test_a_rewritten_graph_that_was_imported_is_refused(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """Its quantisers are there, but nothing is known of them."""
    graph = network(False).graph
    files = configured(graph, tmp_path)
    amct.create_quant_retrain_model(graph, *files)
    imported = tf.Graph()
    with imported.as_default():
        tf.import_graph_def(graph.as_graph_def(), name="")
    with pytest.raises(GraphStateError, match="fake-quantised already"):
        amct.create_quant_retrain_model(imported, *files)


def test_layers_that_share_an_input_share_its_quantiser() -> None:
    """A shortcut and the first convolution of a residual block take one fake-quantised tensor."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [2, 6, 6, 4])
        for index in range(2):
            weight = v1.get_variable(f"w{index}", [1, 1, 4, 4])
            tf.nn.conv2d(x, weight, 1, "SAME", name=f"conv{index}")
    plan = plan_graph(graph)
    with Rewrite(graph) as rewrite:
        insert_quantizers(rewrite, plan, default_config(plan), Quantized(), TargetRules())
    first, second = (graph.get_operation_by_name(f"conv{index}") for index in range(2))
    assert first.inputs[0] is second.inputs[0]
    assert first.inputs[1] is not second.inputs[1]


def test_a_shared_input_is_quantised_apart_for_each_configuration(tmp_path: Path) -> None:
    """Two layers with the same input and other clips: each has the range that its entry states."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [2, 6, 6, 4])
        for index in range(2):
            weight = v1.get_variable(f"w{index}", [1, 1, 4, 4])
            tf.nn.conv2d(x, weight, 1, "SAME", name=f"conv{index}")
    config_file, record_file = configured(graph, tmp_path)
    config = json.loads(Path(config_file).read_text())
    for index, clip in enumerate((1.0, 3.0)):
        config[f"conv{index}"]["retrain_data_config"] |= {"clip_max": clip, "clip_min": -clip}
    Path(config_file).write_text(json.dumps(config))
    retrain_ops = amct.create_quant_retrain_model(graph, config_file, record_file)
    with v1.Session(graph=graph) as session:
        initialise(session)
        record = parse_record(session.run(retrain_ops[-1]).decode())
    scales = [record[f"conv{index}"].scale_d for index in range(2)]
    np.testing.assert_allclose(scales, [2 / 255, 6 / 255], rtol=1e-6)


@pytest.mark.parametrize("resource", [False, True])
def test_layers_that_share_a_weight_share_its_quantiser_and_its_range(resource: bool) -> None:
    """One fake-quantised weight, whether or not each use reads the variable anew."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [2, 4])
        weight = v1.get_variable("w", [4, 4], use_resource=resource)
        tf.matmul(tf.nn.relu(tf.matmul(x, weight, name="first")), weight, name="second")
    plan = plan_graph(graph)
    with Rewrite(graph) as rewrite:
        insert_quantizers(rewrite, plan, default_config(plan), Quantized(), TargetRules())
    first, second = (graph.get_operation_by_name(name) for name in ("first", "second"))
    assert first.inputs[1] is second.inputs[1]
    assert first.inputs[0] is not second.inputs[0]
    clips = [v.op.name for v in graph.get_collection("trainable_variables") if "max" in v.op.name]
    assert clips == ["w/ULQ_clip_max"]


def test_the_minimum_is_fixed_behind_a_relu_and_trained_elsewhere(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """Inputs from Relu or Relu6 have one clip variable, others two."""
    graph = network(True).graph
    amct.create_quant_retrain_model(graph, *configured(graph, tmp_path))
    names = {v.op.name for v in graph.get_collection("trainable_variables")}
    assert {name for name in names if "clip_min" in name} == {
        "conv/weights/ULQ_clip_min",
        "dense/weights/ULQ_clip_min",
    }
    assert sum("clip_max" in name for name in names) == 5


def test_layers_absent_from_the_file_and_disabled_ones_stay_float(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """Only what the file enables is rewritten."""
    graph = network(True).graph
    config_file, record_file = configured(graph, tmp_path)
    config = json.loads(Path(config_file).read_text())
    del config["conv/Conv2D"]
    config["dw/depthwise"]["retrain_enable"] = False
    Path(config_file).write_text(json.dumps(config))
    amct.create_quant_retrain_model(graph, config_file, record_file)
    for name, quantized in (("conv/Conv2D", 0), ("dw/depthwise", 0), ("dense/MatMul", 1)):
        inputs = graph.get_operation_by_name(name).inputs
        assert sum(tensor.op.type == "FakeQuantWithMinMaxVars" for tensor in inputs) == quantized


def test_the_record_before_any_training_names_the_layer_that_saw_no_data(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """The session's error says which layer was never calibrated, and the file stays empty."""
    graph = network(False).graph
    config_file, record_file = configured(graph, tmp_path)
    retrain_ops = amct.create_quant_retrain_model(graph, config_file, record_file)
    with v1.Session(graph=graph) as session:
        initialise(session)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"never calibrated"):
            session.run(retrain_ops[-1])
    assert Path(record_file).read_text() == ""


def test_a_weight_that_is_not_finite_is_named_when_the_record_is_written(tmp_path: Path) -> None:
    """NaN and infinity: the message names layer, channel and count; no record is written."""
    found = "weight of layer .*broken.*, channel 0, has a scale that is not finite.*1 of 2 are"
    for value in (np.nan, np.inf):
        graph = tf.Graph()
        with graph.as_default():
            x = v1.placeholder(tf.float32, [2, 4])
            initial = np.full((4, 4), value, np.float32)
            tf.matmul(x, v1.get_variable("w", initializer=initial), name="broken")
        config_file, record_file = configured(graph, tmp_path)
        config = json.loads(Path(config_file).read_text())
        config["broken"]["retrain_data_config"] |= {"clip_max": 1.0, "clip_min": -1.0}
        Path(config_file).write_text(json.dumps(config))
        retrain_ops = amct.create_quant_retrain_model(graph, config_file, record_file)
        with v1.Session(graph=graph) as session:
            initialise(session)
            with pytest.raises(tf.errors.InvalidArgumentError, match=found):
                session.run(retrain_ops[-1])
        assert Path(record_file).read_text() == ""


def test_the_record_can_be_run_as_object_as_tensor_and_by_name(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """sess.run(retrain_ops[-1]), .output_tensor and .name give the same bytes, as on the disk."""
    net = network(True)
    config_file, record_file = configured(net.graph, tmp_path)
    retrain_ops = amct.create_quant_retrain_model(net.graph, config_file, record_file)
    assert retrain_ops[-1].name.endswith(":0")
    feed = {net.x: np.ones((2, 8, 8, 3)), net.labels: [0, 1]}
    with net.graph.as_default():
        step = v1.train.GradientDescentOptimizer(0.1).minimize(net.loss)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            session.run(step, feed)
            texts = [
                session.run(fetch)
                for fetch in (
                    retrain_ops[-1],
                    retrain_ops[-1].output_tensor,
                    retrain_ops[-1].name[:-2] + ":0",
                )
            ]
            listed, _ = session.run([retrain_ops[-1], net.loss], feed)
    assert set(texts) == {listed}
    assert Path(record_file).read_bytes() == listed
    assert len(parse_record(listed.decode())) == 5


def unchanged_after(
    error: type[Exception], match: str, graph: tf.Graph, config_file: str, record_file: str
) -> None:
    before = graph.as_graph_def().SerializeToString(deterministic=True)
    with pytest.raises(error, match=match):
        amct.create_quant_retrain_model(graph, config_file, record_file)
    assert graph.as_graph_def().SerializeToString(deterministic=True) == before


def test_an_unknown_layer_in_the_config_is_named_with_the_closest(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """Before anything is changed."""
    graph = network(True).graph
    config_file, record_file = configured(graph, tmp_path)
    text = Path(config_file).read_text().replace("conv/Conv2D", "conv/Conv2d")
    Path(config_file).write_text(text)
    unchanged_after(UnknownNameError, "conv/Conv2D", graph, config_file, record_file)


def test_a_graph_with_gradients_or_a_session_is_refused_unchanged(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """Gradients first, or a session first: the error says what to do instead."""
    net = network(True)
    files = configured(net.graph, tmp_path)
    with net.graph.as_default():
        v1.train.GradientDescentOptimizer(0.1).minimize(net.loss)
    unchanged_after(GradientsExistError, "before optimizer.minimize", net.graph, *files)
    net = network(True)
    with v1.Session(graph=net.graph) as session:
        initialise(session)
        unchanged_after(SessionExistsError, "make the session after", net.graph, *files)


def test_bad_arguments_are_named_before_anything_is_changed(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """No graph, an empty graph, a graph without layers, paths that cannot be written."""
    empty, plain = tf.Graph(), tf.Graph()
    with plain.as_default():
        tf.nn.relu(v1.placeholder(tf.float32, [2]))
    target = str(tmp_path / "config.json")
    with pytest.raises(ConfigError, match="graph"):
        amct.create_quant_retrain_config(target, "graph")  # type: ignore[arg-type]
    with pytest.raises(NoLayersError, match="empty"):
        amct.create_quant_retrain_config(target, empty)
    with pytest.raises(NoLayersError):
        amct.create_quant_retrain_config(target, plain)
    graph = network(True).graph
    with pytest.raises(FileWriteError, match="config_file"):
        amct.create_quant_retrain_config(str(tmp_path), graph)
    assert list(tmp_path.iterdir()) == []
    config_file, _ = configured(graph, tmp_path)
    unchanged_after(FileWriteError, "record_file", graph, config_file, str(tmp_path))


def test_a_failure_midway_leaves_the_graph_as_it_was(
    network: Callable[[bool], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs and collections are put back; a second call then succeeds."""
    net = network(True)
    files = configured(net.graph, tmp_path)
    inputs = {op.name: list(op.inputs) for op in net.graph.get_operations()}
    variables = list(net.graph.get_collection("variables"))

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("graphquant_qat.create_model.write_record_op", fail)
        with pytest.raises(OSError, match="disk full"):
            amct.create_quant_retrain_model(net.graph, *files)
    for name, before in inputs.items():
        after = net.graph.get_operation_by_name(name).inputs
        assert all(a is b for a, b in zip(after, before, strict=True)), name
    assert net.graph.get_collection("variables") == variables
    amct.create_quant_retrain_model(net.graph, *files)
    assert len(net.graph.get_collection("variables")) == len(variables) + 12
