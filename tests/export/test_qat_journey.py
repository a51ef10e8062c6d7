"""From a live graph with fake quantisers, over freezing, to the deployed graph."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import RecordError
from graphquant_core.record import LayerFactors, Record
from graphquant_export.integer_reference import integer_reference
from graphquant_export.targets.ascend import ASCEND_TYPES, quantize_graph

v1 = tf.compat.v1


def test_the_deployed_model_computes_what_the_training_graph_simulated(trained, run, image):
    """Deployed and simulated outputs differ by roundings, and deployed equals its exact sums."""
    frozen, record = trained
    assert {"FakeQuantWithMinMaxVars", "Round"} <= {node.op for node in frozen.node}
    quantized, layers = quantize_graph(frozen, ["logits"], record)
    assert len(layers) == 6
    (simulated,) = run(frozen, ["logits"], {"image:0": image})
    (deployed,) = run(quantized, ["logits"], {"image:0": image})
    (exact,) = integer_reference(quantized, ["logits"], {"image": image})
    np.testing.assert_array_equal(deployed, exact)
    # The bias is rounded to int32 and a few ties fall the other way; most values must agree.
    error = np.abs(deployed - simulated) / np.ptp(simulated)
    assert np.median(error) < 1e-3
    assert error.max() < 0.02


def test_no_fake_quantiser_remains(trained):
    """After the export the graph has neither fake quantisers nor their marks."""
    frozen, record = trained
    quantized, _ = quantize_graph(frozen, ["logits"], record)
    assert "FakeQuantWithMinMaxVars" not in {node.op for node in quantized.node}
    assert not any("_graphquant" in node.attr for node in quantized.node)
    assert sum(node.op == "AscendQuant" for node in quantized.node) == 6
    assert {node.op for node in quantized.node} & ASCEND_TYPES == ASCEND_TYPES - {"AscendAntiQuant"}


def test_the_codes_are_those_of_training(trained):
    """codes * scale_w / |factor| is the weight that training used, bit for bit on its grid."""
    frozen, record = trained
    quantized, _ = quantize_graph(frozen, ["logits"], record)
    nodes = {node.name: node for node in quantized.node}
    codes = tf.make_ndarray(nodes["head/weight_quant/weight"].attr["value"].tensor)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen, name="")
    with v1.Session(graph=graph) as session:
        weight = session.run(graph.get_operation_by_name("head/Conv2D").inputs[1])
    scale = record["head/Conv2D"].scale_w
    np.testing.assert_array_equal(codes * scale, weight)
    assert np.abs(codes).max() == 127


@pytest.mark.parametrize("name", ["conv/Conv2D", "up/deconv", "head/MatMul"])
@pytest.mark.parametrize("ratio", [1.1, 0.5])
def test_a_record_of_another_checkpoint_is_refused(trained, name, ratio):
    """A trained weight between the record's grid points, or beyond them, is an error."""
    frozen, record = trained
    wrong = attrs.evolve(record[name], scale_w=record[name].scale_w * ratio)
    with pytest.raises(RecordError, match=f'does not belong to this model.*"{name}"'):
        quantize_graph(frozen, ["logits"], Record({**record, name: wrong}))


def test_one_scale_does_not_fit_a_batch_norm_per_channel(trained):
    """One scale_w before a batch norm whose factors differ is an error that says so."""
    frozen, record = trained
    name = "conv/Conv2D"
    wrong = LayerFactors(0.0213, 3, record[name].scale_w[:1])
    with pytest.raises(RecordError, match=r"has one scale_w.*one for each channel"):
        quantize_graph(frozen, ["logits"], Record({**record, name: wrong}))


def test_a_record_without_a_trained_layer_is_refused(trained):
    """A layer that was trained for quantisation but has no entry is an error, not left float."""
    frozen, record = trained
    rest = {name: factors for name, factors in record.items() if name != "up/deconv"}
    with pytest.raises(RecordError, match=r'"up/deconv" was trained.*no entry'):
        quantize_graph(frozen, ["logits"], Record(rest))


def test_a_batch_norm_that_the_record_left_out_stays_behind_the_layer(
    trained, five_factors, run, image
):
    """The tail is folded as far as the record's scales hold, and the result is the same."""
    frozen, record = trained
    name = "conv/Conv2D"
    (expected,) = run(quantize_graph(frozen, ["logits"], record)[0], ["logits"], {"image:0": image})
    folded = {layer.name: layer.folded for layer in quantize_graph(frozen, ["logits"], record)[1]}
    assert folded[name] == ("conv/FusedBatchNormV3",)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen, name="")
    with v1.Session(graph=graph) as session:
        weight = session.run(graph.get_operation_by_name(name).inputs[1])
    plain = LayerFactors(*five_factors[name], np.abs(weight).max(axis=(0, 1, 2)) / 127)
    quantized, layers = quantize_graph(frozen, ["logits"], Record({**record, name: plain}))
    assert layers[0].folded == ()
    (found,) = run(quantized, ["logits"], {"image:0": image})
    assert np.median(np.abs(found - expected)) < 1e-3 * np.ptp(expected)
