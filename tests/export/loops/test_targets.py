"""Recurrent layers in the runtimes that take no loop, with an open batch and with a static one."""

from __future__ import annotations

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

import graphquant_export as gq
from graphquant_core.weight_record import WeightGrid, WeightRecord
from graphquant_export.quantized.weight_codes import mnn_quantize

L = keras.layers
STEPS, SIZE, UNITS = 6, 8, 64
X = np.random.default_rng(3).normal(size=(16, STEPS, SIZE)).astype(np.float32)


def recurrent(folder, batch=None):
    """A layer before the loop, the loop, and a layer behind it."""
    keras.utils.set_random_seed(3)
    x = keras.Input((STEPS, SIZE), batch_size=batch, name="x")
    y = L.Dense(SIZE, name="before")(x)
    y = L.LSTM(UNITS, name="lstm")(y)
    keras.Model(x, L.Dense(16, name="behind")(y)).save(folder / "model.keras")
    return gq.load_model(folder / "model.keras")


def float_size(model):
    constants = [node for node in model.graph_def.node if node.op == "Const"]
    values = (tf.make_ndarray(node.attr["value"].tensor) for node in constants)
    return sum(value.nbytes for value in values)


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("target", ["litert", "mnn"])
def test_the_file_is_right_and_holds_each_weight_once(tmp_path, target, batch):
    """The layers in the loop are float and listed with the reason, the others int8."""
    model = recurrent(tmp_path, batch)
    samples = {"x": X[: batch or len(X)]}
    record = gq.quantize(model, samples, target)
    artifact = gq.export(model, record, target, tmp_path / "m", samples=samples)
    found = gq.verify(artifact, samples, layers=True)
    assert found.ok(), found.problems()
    loops = [row for row in found.executions if "steps share its weight" in (row.reason or "")]
    assert [(row.op_type, row.execution) for row in loops] == [("MatMul", "float")] * 2
    others = [row.execution for row in found.executions if row not in loops]
    assert others == ["int8", "int8"]
    # Six steps of the kernels would be six times as much; what a step says of itself is small.
    assert artifact.paths[0].stat().st_size < 2 * float_size(model)
    again = gq.open_artifact(model, artifact.source.record, target, tmp_path / "m")
    assert [row.execution for row in gq.verify(again, samples).executions] == [
        row.execution for row in found.executions
    ]


@pytest.mark.parametrize("target", ["litert", "mnn"])
def test_weights_outside_of_the_loop_alone_are_quantised(tmp_path, target, caplog):
    """The model computes what TensorFlow does; a warning says which weights are float, and why."""
    model = recurrent(tmp_path)
    name = next(n.name for n in model.graph_def.node if n.op == "MatMul" and "behind" in n.name)
    for node in model.graph_def.node:
        if node.name == "behind/kernel":
            weight = mnn_quantize(tf.make_ndarray(node.attr["value"].tensor).T, 4, True).values().T
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weight))
    record = WeightRecord({name: WeightGrid(4, asymmetric=True)})
    with caplog.at_level(logging.WARNING):
        artifact = gq.export(model, record, target, tmp_path / "m")
    assert "3 of 4 layers stay float" in caplog.text
    found = gq.verify(artifact, {"x": X})
    assert found.ok(), found.problems()
    assert sum("steps share" in (row.reason or "") for row in found.executions) == 2
