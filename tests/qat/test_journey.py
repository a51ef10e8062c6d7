"""The documented flow, from the training graph to a model that plain TensorFlow runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.exceptions import EmptyRecordError
from graphquant_core.graph.frozen import load_graph_def
from graphquant_core.record import read_record
from graphquant_export.integer_reference import integer_reference

v1 = tf.compat.v1
LAYERS = ("conv/Conv2D", "dw/depthwise", "up/conv2d_transpose", "pool/AvgPool", "dense/MatMul")
LEVELS = 255


def run_pb(path: str, x: Any, output: str = "prob:0") -> np.ndarray:
    graph = tf.Graph()
    with graph.as_default():
        (tensor,) = tf.import_graph_def(load_graph_def(path), return_elements=[output], name="")
        with v1.Session() as session:
            return session.run(tensor, {"x:0": x})


def test_the_trained_model_has_learned_its_task(journey: Any) -> None:
    """Otherwise the comparisons below would compare noise."""
    assert (journey.probabilities.argmax(1) == journey.labels).mean() > 0.9


def test_the_quantised_model_computes_what_the_fake_quantised_graph_computed(journey: Any) -> None:
    """Same class on every image but those on a tie, probabilities a fraction of a percent apart."""
    quantized = run_pb(journey.quantized, journey.x)
    agreement = quantized.argmax(1) == journey.probabilities.argmax(1)
    assert agreement.mean() >= 0.995
    assert np.abs(quantized - journey.probabilities).mean() < 5e-3


def test_the_frozen_graph_computes_what_the_live_graph_computed(journey: Any) -> None:
    """Freezing changes nothing, although the graph could still search start values."""
    np.testing.assert_allclose(
        run_pb(journey.frozen, journey.x), journey.probabilities, rtol=1e-5, atol=1e-6
    )


def test_the_quantised_model_is_its_own_integer_evaluation(journey: Any) -> None:
    """Exact sums in float64 give the same logits to 1e-5 relative."""
    x = journey.x[:64]
    logits = run_pb(journey.quantized, x, "dense/dequant/AscendDequant:0")
    (exact,) = integer_reference(
        load_graph_def(journey.quantized), ["dense/dequant/AscendDequant"], {"x": x}
    )
    assert np.abs(logits - exact).max() <= 1e-5 * np.abs(exact).max()


def test_every_layer_type_is_deployed_in_the_pattern_of_the_compiler(journey: Any) -> None:
    """AscendQuant -> layer <- AscendWeightQuant, then BiasAdd, then AscendDequant."""
    nodes = {node.name: node for node in load_graph_def(journey.quantized).node}
    counts = Counter(node.op for node in nodes.values())
    assert counts["AscendQuant"] == counts["AscendDequant"] == 5
    assert counts["AscendWeightQuant"] == 4
    for name in LAYERS:
        layer = nodes[name]
        feeding = [nodes[source.split(":")[0]].op for source in layer.input]
        assert "AscendQuant" in feeding
        following = next(node for node in nodes.values() if name in node.input)
        if "pool" in name:
            assert following.op == "AscendDequant"
            continue
        assert "AscendWeightQuant" in feeding
        assert following.op == "BiasAdd"
        assert any(
            node.op == "AscendDequant" and following.name in node.input for node in nodes.values()
        )
    assert not any("FakeQuant" in node.op or "BatchNorm" in node.op for node in nodes.values())


def test_the_record_has_the_layers_in_order_and_one_scale_per_channel(journey: Any) -> None:
    """Key = op name; convolutions have a scale per output channel, the dense layer one."""
    record = read_record(journey.record_file)
    assert tuple(record) == LAYERS
    counts = [None if f.scale_w is None else len(f.scale_w) for f in record.values()]
    assert counts == [6, 12, 5, None, 1]


def test_the_one_graph_variant_gives_a_model_too(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """The record and the frozen graph come from the training graph, in the training session."""
    config_file, record_file = str(tmp_path / "c.json"), str(tmp_path / "r.txt")
    training = network(True)
    amct.create_quant_retrain_config(config_file=config_file, graph=training.graph)
    retrain_ops = amct.create_quant_retrain_model(
        graph=training.graph, config_file=config_file, record_file=record_file
    )
    random = np.random.default_rng(0)
    feed = {
        training.x: random.normal(size=(16, 8, 8, 3)),
        training.labels: random.integers(0, 4, 16),
    }
    with training.graph.as_default():
        step = v1.train.GradientDescentOptimizer(0.01).minimize(training.loss)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            for _ in range(3):
                session.run(step, feed)
            session.run(retrain_ops[-1].output_tensor, feed)
            frozen = v1.graph_util.convert_variables_to_constants(
                session, training.graph.as_graph_def(), ["prob"]
            )
            expected = session.run("prob:0", feed)
    pb = tmp_path / "trained.pb"
    pb.write_bytes(frozen.SerializeToString())
    amct.save_quant_retrain_model(
        pb_model=str(pb), outputs=["prob"], record_file=record_file, save_path=str(tmp_path / "m")
    )
    actual = run_pb(str(tmp_path / "m_quantized.pb"), feed[training.x])
    np.testing.assert_allclose(actual, expected, atol=0.02)


def test_saving_before_the_record_was_written_says_so(journey: Any, tmp_path: Path) -> None:
    """An empty record: was inference left out after the training?"""
    empty = tmp_path / "record.txt"
    empty.write_text("")
    with pytest.raises(EmptyRecordError, match="inference"):
        amct.save_quant_retrain_model(journey.frozen, ["prob"], str(empty), str(tmp_path / "model"))
    assert list(tmp_path.iterdir()) == [empty]


def test_layers_that_freezing_dropped_may_stand_in_the_record(
    journey: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An auxiliary head is trained and recorded, and not part of the deployed model."""
    record = tmp_path / "record.txt"
    head = 'record {\n  key: "aux/Conv2D"\n  value {\n    scale_d: 0.5\n    offset_d: 0\n  }\n}\n'
    record.write_text(Path(journey.record_file).read_text() + head)
    amct.save_quant_retrain_model(journey.frozen, ["prob"], str(record), str(tmp_path / "model"))
    assert (tmp_path / "model_quantized.pb").read_bytes() == Path(journey.quantized).read_bytes()
    assert "aux/Conv2D" in caplog.text


def test_saving_twice_gives_the_same_bytes(journey: Any, tmp_path: Path) -> None:
    """Same frozen graph, same record, same files."""
    written = []
    for name in ("first", "second"):
        amct.save_quant_retrain_model(
            journey.frozen, ["prob"], journey.record_file, str(tmp_path / name)
        )
        written.append((tmp_path / f"{name}_quantized.pb").read_bytes())
    assert written[0] == written[1] == Path(journey.quantized).read_bytes()
