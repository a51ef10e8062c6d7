"""Each layer of a network is calibrated by its own data, whatever the others see."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.calibration.ifmr import ifmr_range
from graphquant_core.channels import channel_matrix
from graphquant_core.graph import plan_graph
from graphquant_core.grid import INT8
from graphquant_core.quantize import affine_params
from graphquant_core.record import parse_record

v1 = tf.compat.v1


def test_ranges_and_scales_come_from_what_the_layer_itself_takes(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """scale_d, offset_d of NumPy's IFMR and scale_w of NumPy's max|w| / 127, layer by layer."""
    built = network(True)
    graph = built.graph
    config_file, record_file = str(tmp_path / "config.json"), str(tmp_path / "record.txt")
    layers = plan_graph(graph).layers
    amct.create_quant_retrain_config(config_file, graph)
    config = json.loads(Path(config_file).read_text())
    for layer in layers:
        if layer.weight_port is not None:
            config[layer.name]["retrain_weight_config"]["algo"] = "ulq_retrain"
    Path(config_file).write_text(json.dumps(config))
    taken = {
        layer.name: graph.get_operation_by_name(layer.name).inputs[layer.activation_port]
        for layer in layers
    }
    retrain_ops = amct.create_quant_retrain_model(graph, config_file, record_file)
    weights = {
        layer.weight_source: graph.get_tensor_by_name(
            f"{layer.weight_source}/Read/ReadVariableOp:0"
        )
        for layer in layers
        if layer.weight_source
    }
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(64, 8, 8, 3)), random.integers(0, 4, 64)
    with graph.as_default():
        gradients = tf.gradients(built.loss, v1.trainable_variables())
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            values, _ = session.run([taken, gradients], {built.x: x, built.labels: labels})
            weight_values = session.run(weights)
            record = parse_record(session.run(retrain_ops[-1]).decode())
    for layer in layers:
        factors = record[layer.name]
        expected = affine_params(*ifmr_range(values[layer.name], INT8), INT8)
        np.testing.assert_allclose(factors.scale_d, expected.scale, rtol=1e-5)
        assert factors.offset_d == expected.offset
        if layer.weight_source:
            axes = layer.weight_channel_axes if factors.scale_w.size > 1 else ()
            matrix = channel_matrix(weight_values[layer.weight_source], axes)
            np.testing.assert_allclose(
                factors.scale_w, np.abs(matrix).max(0).ravel() / 127, rtol=1e-5
            )
    # Nothing in this network makes two layers take the same values.
    assert len({factors.scale_d for factors in record.values()}) == len(layers)
