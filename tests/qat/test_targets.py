"""Training for a target: what it rounds besides the inputs of layers is trained, too."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.exceptions import (
    ConfigError,
    GraphStateError,
    ModelFileError,
    RecordError,
    UnknownNameError,
)
from graphquant_core.graph.frozen import load_graph_def
from graphquant_core.record import Record, read_record
from graphquant_core.registry import load_registry
from graphquant_core.target_rules import TargetRules
from graphquant_export.integer_reference import integer_reference
from graphquant_export.quantized.simulate import simulate
from graphquant_export.quantized.target_simulation import simulate_target
from graphquant_export.verification import verify
from graphquant_qat import create_model

v1 = tf.compat.v1
TARGETS = ("litert", "onnx", "mnn")


@attrs.frozen(eq=False)
class Net:
    """A residual network with the tensors of a training script."""

    graph: tf.Graph
    x: tf.Tensor
    labels: tf.Tensor
    loss: tf.Tensor


def build(training, fused=True):
    """A residual block, a concatenation and a gate, for training or inference."""
    graph = tf.Graph()
    with graph.as_default():
        v1.set_random_seed(3)
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], "x")
        labels = v1.placeholder(tf.int64, [None], "labels")
        y = tf.nn.relu(conv(x, "c1", 8, training, fused))
        z = tf.nn.relu(conv(y, "c2", 8, training, fused))
        y = tf.nn.relu(y + conv(z, "c3", 8, training, fused), name="block1")
        y = tf.concat([y, conv(y, "c4", 4, training, fused)], 3, name="joined")
        y = tf.identity(y * tf.sigmoid(y), name="gated")
        y = tf.nn.relu(conv(y, "c5", 8, training, fused))
        weight = v1.get_variable("fc/weights", [8, 4])
        bias = v1.get_variable("fc/bias", [4], initializer=v1.zeros_initializer())
        pooled = tf.reduce_mean(y, [1, 2], name="pooled")
        logits = tf.nn.bias_add(tf.matmul(pooled, weight, name="fc/MatMul"), bias, name="logits")
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
        tf.nn.softmax(logits, name="prob")
    return Net(graph, x, labels, loss)


def conv(x, name, channels, training, fused):
    """A convolution with batch norm, by one op or by several."""
    with v1.variable_scope(name):
        weight = v1.get_variable("weights", [3, 3, int(x.shape[-1]), channels])
        y = tf.nn.conv2d(x, weight, 1, "SAME", name="Conv2D")
        ones, zeros = v1.ones_initializer(), v1.zeros_initializer()
        gamma, beta = (
            v1.get_variable(n, [channels], initializer=i)
            for n, i in (("gamma", ones), ("beta", zeros))
        )
        mean, variance = (
            v1.get_variable(n, [channels], initializer=i, trainable=False)
            for n, i in (("mean", zeros), ("variance", ones))
        )
        if not training:
            if fused:
                return v1.nn.fused_batch_norm(y, gamma, beta, mean, variance, is_training=False)[0]
            return tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3)
        if fused:
            y, m, v = v1.nn.fused_batch_norm(y, gamma, beta)
        else:
            m, v = tf.nn.moments(y, [0, 1, 2])
            y = tf.nn.batch_normalization(y, m, v, beta, gamma, 1e-3)
        for moving, batch in ((mean, m), (variance, v)):
            update = v1.assign(moving, moving * 0.8 + batch * 0.2)
            v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
        return y


def samples(count, seed=0):
    """Noise around four patterns, and which of them it is."""
    patterns = np.random.default_rng(99).normal(size=(4, 8, 8, 3))
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    noisy = patterns[labels] + 0.7 * random.normal(size=(count, 8, 8, 3))
    return noisy.astype(np.float32), labels


def train(folder, target, fused=True, config=lambda data: data):
    """(frozen graph, record) of a short training for `target`."""
    config_file, record_file = str(folder / "c.json"), str(folder / "r.txt")
    training = build(True, fused)
    amct.create_quant_retrain_config(config_file, training.graph)
    path = Path(config_file)
    path.write_text(json.dumps(config(json.loads(path.read_text()))))
    amct.create_quant_retrain_model(training.graph, config_file, record_file, target=target)
    with training.graph.as_default():
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            step = v1.train.RMSPropOptimizer(0.002, momentum=0.5).minimize(training.loss)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            for index in range(8):
                x, labels = samples(32, index)
                session.run(step, {training.x: x, training.labels: labels})
            checkpoint = v1.train.Saver().save(session, str(folder / "model"))
    inference = build(False, fused)
    ops = amct.create_quant_retrain_model(inference.graph, config_file, record_file, target=target)
    with inference.graph.as_default(), v1.Session() as session:
        v1.train.Saver().restore(session, checkpoint)
        session.run(ops[-1])
        constants = v1.graph_util.convert_variables_to_constants
        model = constants(session, inference.graph.as_graph_def(), ["logits"])
    return model, read_record(record_file)


@pytest.fixture(scope="module", params=TARGETS)
def trained(request, tmp_path_factory):
    """(target, frozen graph, record)."""
    return (request.param, *train(tmp_path_factory.mktemp(request.param), request.param))


def test_what_was_trained_for_a_target_is_what_it_computes(trained, tmp_path):
    """Full integer from the record alone, and every answer that of the fake-quantised graph."""
    target, model, record = trained
    exporter = load_registry().exporter(target)
    artifact = exporter.export(model, ["logits"], record, tmp_path / "m")
    assert {row.execution for row in exporter.runtime(artifact).executions()} == {"int8"}
    x, _ = samples(64, 100)
    found = verify(artifact, {"x": x}, layers=True)
    assert found.ok()
    (output,) = found.outputs
    for truth in (output.reference, output.simulation):
        assert truth.mean <= 0.05
        assert truth.agreement == 1.0
    assert artifact.source.record.value_grids == record.value_grids


def test_the_record_has_the_values_that_the_target_rounds(trained):
    """Additions, concatenations and the logits, each by the name that both graphs have."""
    target, _, record = trained
    names = set(record.value_grids)
    results = {"Relu:0", "c3/Conv2D:0", "c4/Conv2D:0", "Relu_2:0"}
    expected = {
        "litert": {"Relu:0", "c3/Conv2D:0", "block1:0", "joined:0", "fc/MatMul:0", "Relu_2:0"},
        "onnx": results,
        "mnn": results | {"fc/MatMul:0"},
    }
    assert names == expected[target]


def test_a_range_serves_a_layer_and_everything_else(trained):
    """What a layer takes and an addition too is rounded once, by the layer's quantiser."""
    _, _, record = trained
    assert record.value_grids["Relu:0"] == record["c2/Conv2D"].activation_grid


def test_the_frozen_graph_is_the_targets_simulation(trained):
    """Its fake quantisers stand where the plan has them, those of its outputs, too."""
    target, model, record = trained
    rules = load_registry().exporter(target).rules
    done = simulate_target(simulate(model, ["logits"], record), record, rules)
    x, _ = samples(64, 100)
    (exact,) = integer_reference(done.reference, ["logits"], {"x": x})
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(model, name="")
    with v1.Session(graph=graph) as session:
        logits = session.run("logits:0", {"x:0": x})
    assert np.abs(logits - exact).mean() <= 0.02 * np.ptp(exact) / 255


def test_ascend_rounds_nothing_of_it(trained, tmp_path):
    """A graph that was trained for another target is exported to Ascend without its values."""
    _, model, record = trained
    exporter = load_registry().exporter("ascend")
    artifact = exporter.export(model, ["logits"], record, tmp_path / "m")
    nodes = load_graph_def(artifact.paths[0]).node
    assert not any("FakeQuant" in node.op for node in nodes)
    assert sum(node.op == "AscendDequant" for node in nodes) == len(record)


def test_a_batch_norm_of_several_ops_has_the_same_values(tmp_path):
    """In training mode the moments take what is normalised, too."""
    _, record = train(tmp_path, "litert", fused=False)
    assert set(record.value_grids) >= {"c3/Conv2D:0", "joined:0", "fc/MatMul:0"}


def test_values_can_be_fixed_and_skipped_in_the_config(tmp_path):
    """An entry with the name of a value holds its start values, or leaves it float."""

    def config(data):
        clips = {"algo": "ulq_quantize", "clip_max": 2.0, "clip_min": -2.0, "dst_type": "INT8"}
        on = {"retrain_enable": True, "retrain_data_config": clips}
        off = {"retrain_enable": False, "retrain_data_config": {"dst_type": "INT8"}}
        return data | {"c3/Conv2D:0": on, "joined:0": off}

    _, record = train(tmp_path, "litert", config=config)
    assert "joined:0" not in record.value_grids
    assert record.value_grids["c3/Conv2D:0"].scale == pytest.approx(4 / 255, rel=0.2)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ("litrt", UnknownNameError, 'did you mean "litert"'),
        ((), ConfigError, "must be the name of a target"),
        (3, ConfigError, "must be the name of a target"),
        (("litert", "nothing"), UnknownNameError, "nothing"),
    ],
)
def test_an_unknown_target_is_refused(tmp_path, target, error, message):
    """The error names the argument and what is there; the graph is as before."""
    net = build(True)
    config_file = str(tmp_path / "c.json")
    amct.create_quant_retrain_config(config_file, net.graph)
    before = net.graph.as_graph_def()
    with pytest.raises(error, match=message):
        amct.create_quant_retrain_model(
            net.graph, config_file, str(tmp_path / "r.txt"), target=target
        )
    assert net.graph.as_graph_def() == before


def test_a_graph_is_rewritten_for_one_target(tmp_path):
    """Calling it again for the same target changes nothing, for another one it is an error."""
    net = build(False)
    config_file, record_file = str(tmp_path / "c.json"), str(tmp_path / "r.txt")
    amct.create_quant_retrain_config(config_file, net.graph)
    amct.create_quant_retrain_model(net.graph, config_file, record_file, target="litert")
    before = {op: list(op.inputs) for op in net.graph.get_operations()}
    amct.create_quant_retrain_model(net.graph, config_file, record_file, target=["litert"])
    assert all(list(map(id, op.inputs)) == list(map(id, ins)) for op, ins in before.items())
    with pytest.raises(GraphStateError, match="rewritten for litert already"):
        amct.create_quant_retrain_model(net.graph, config_file, record_file, target="mnn")


def test_the_order_of_several_targets_does_not_count(tmp_path):
    """The same targets the other way round change nothing; one of them alone is an error."""
    net = build(False)
    config_file, record_file = str(tmp_path / "c.json"), str(tmp_path / "r.txt")
    amct.create_quant_retrain_config(config_file, net.graph)
    amct.create_quant_retrain_model(net.graph, config_file, record_file, target=["litert", "onnx"])
    before = net.graph.as_graph_def()
    *added, _ = amct.create_quant_retrain_model(
        net.graph, config_file, record_file, target=["onnx", "litert"]
    )
    assert not added
    named = {node.name: node for node in net.graph.as_graph_def().node}
    assert all(named[node.name] == node for node in before.node)
    with pytest.raises(GraphStateError, match="rewritten for onnx, litert already"):
        amct.create_quant_retrain_model(net.graph, config_file, record_file, target="onnx")


def test_a_config_that_names_what_the_target_does_not_round_is_refused(tmp_path):
    """It lists what there is."""
    net = build(True)
    path = tmp_path / "c.json"
    amct.create_quant_retrain_config(str(path), net.graph)
    entry = {"retrain_enable": False, "retrain_data_config": {"dst_type": "INT8"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"jonied:0": entry}))
    with pytest.raises(UnknownNameError, match=r'rounds no value "jonied:0".*joined:0'):
        amct.create_quant_retrain_model(
            net.graph, str(path), str(tmp_path / "r.txt"), target="litert"
        )


def test_targets_that_contradict_each_other_are_refused(tmp_path, monkeypatch):
    """The error names the targets and the type of op that they round differently."""

    class Contrary:
        """A target that rescales what LiteRT puts on a fixed grid."""

        name = "contrary"
        rules = TargetRules(rescaling=frozenset({"Sigmoid"}))

    net = build(True)
    config_file = str(tmp_path / "c.json")
    amct.create_quant_retrain_config(config_file, net.graph)
    registry = attrs.evolve(
        load_registry(), exporters={**load_registry().exporters, "contrary": Contrary()}
    )
    monkeypatch.setattr(create_model, "load_registry", lambda: registry)
    with pytest.raises(ConfigError, match=r"^target \(litert, contrary\) .*round Sigmoid differ"):
        amct.create_quant_retrain_model(
            net.graph, config_file, str(tmp_path / "r.txt"), target=["litert", "contrary"]
        )


def test_several_targets_share_one_training(tmp_path):
    """What one of them rounds is trained; each is exported in full integers from the record."""
    model, record = train(tmp_path, ("onnx", "mnn"))
    for target in ("onnx", "mnn"):
        exporter = load_registry().exporter(target)
        artifact = exporter.export(model, ["logits"], record, tmp_path / target)
        assert {row.execution for row in exporter.runtime(artifact).executions()} == {"int8"}


def test_a_value_of_another_model_is_refused(trained, tmp_path):
    """A record with a value that the model lacks names it."""
    target, model, record = trained
    grids = {"block7:0": next(iter(record.value_grids.values()))}
    with pytest.raises(RecordError, match=r'value "block7:0".*did you mean "block1:0"'):
        load_registry().exporter(target).export(
            model, ["logits"], Record(record.factors, value_grids=grids), tmp_path / "m"
        )


def test_a_model_without_training_nodes_says_why_it_cannot_be_exported(trained, tmp_path):
    """remove_training_nodes takes the first op of every fake quantiser out."""
    target, model, record = trained
    stripped = v1.graph_util.remove_training_nodes(model)
    for name in (target, "ascend"):
        with pytest.raises(ModelFileError, match=r"remove_training_nodes .* give the frozen graph"):
            load_registry().exporter(name).export(stripped, ["logits"], record, tmp_path / "m")
