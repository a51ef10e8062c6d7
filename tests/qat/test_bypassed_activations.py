"""A training graph leaves to its quantisers the activation functions that they compute, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen
from graphquant_core.graph.frozen.bypassed import with_activations

v1 = tf.compat.v1
KINDS = {"Relu": tf.nn.relu, "Relu6": tf.nn.relu6}


class Model:
    """conv -> batch norm -> activation function -> conv, fake-quantised, and its gradients."""

    def __init__(
        self, kind: str, folder: Path, *, training: bool = True, also_taken: bool = False
    ) -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            v1.set_random_seed(1)
            random = np.random.default_rng(0)
            self.images = random.normal(size=(4, 6, 6, 3)).astype(np.float32)
            self.x = v1.placeholder(tf.float32, [None, 6, 6, 3], "x")
            y = self.conv(self.x, "first", random.normal(size=(3, 3, 3, 8)))
            scale = v1.get_variable("gamma", initializer=np.full(8, 3, np.float32))
            offset = v1.get_variable("beta", initializer=np.linspace(-2, 4, 8, dtype=np.float32))
            moments = () if training else (np.zeros(8, np.float32), np.full(8, 30, np.float32))
            y = v1.nn.fused_batch_norm(y, scale, offset, *moments, is_training=training)[0]
            self.activated = KINDS[kind](y, name="activated")
            if also_taken:
                tf.identity(self.activated)
            self.y = self.conv(self.activated, "second", random.normal(size=(3, 3, 8, 4)))
            self.y = tf.identity(self.y, name="y")
            files = [str(folder / name) for name in ("config.json", "record.txt")]
            amct.create_quant_retrain_config(files[0], self.graph)
            amct.create_quant_retrain_model(self.graph, *files)
            variables = v1.trainable_variables()
            self.gradients = tf.gradients(tf.reduce_sum(self.y * tf.sin(self.y)), variables)
            self.session = v1.Session()
            self.session.run(v1.global_variables_initializer())
        self.names = [variable.op.name for variable in variables]

    @staticmethod
    def conv(x: tf.Tensor, name: str, weights: np.ndarray) -> tf.Tensor:
        with v1.variable_scope(name):
            held = v1.get_variable("weights", initializer=weights.astype(np.float32))
            return v1.nn.conv2d(x, held, strides=1, padding="SAME", name="conv")

    @property
    def quantised(self) -> tf.Tensor:
        """What goes into the quantiser of the second convolution."""
        return self.graph.get_tensor_by_name("second/act_quant/input:0").op.inputs[0]

    def step(self) -> list[np.ndarray]:
        return self.session.run([self.y, *self.gradients], {self.x: self.images})

    def frozen(self) -> v1.GraphDef:
        return v1.graph_util.convert_variables_to_constants(
            self.session, self.graph.as_graph_def(), ["y"]
        )


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_the_function_out_changes_neither_values_nor_gradients(
    kind: str, tmp_path: Path
) -> None:
    """Where another op takes it, it stays: both graphs compute the same, step after step."""
    without, whole = Model(kind, tmp_path), Model(kind, tmp_path, also_taken=True)
    assert without.quantised.op.type == "FusedBatchNormV3"
    assert whole.quantised.op.type == kind
    for _ in range(3):  # the first step searches the range
        for name, found, expected in zip(
            ["y", *without.names], without.step(), whole.step(), strict=True
        ):
            np.testing.assert_allclose(
                found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max(), err_msg=name
            )


@pytest.mark.parametrize("kind", KINDS)
def test_the_inference_graph_keeps_the_function(kind: str, tmp_path: Path) -> None:
    """Batch norm that takes no moments of its batch: nothing is left out."""
    model = Model(kind, tmp_path, training=False)
    assert model.quantised is model.activated
    frozen = model.frozen()
    assert [node.op for node in frozen.node].count(kind) == 1
    assert with_activations(frozen) is frozen


@pytest.mark.parametrize("kind", KINDS)
def test_the_function_is_back_in_a_training_graph_that_was_frozen(
    kind: str, tmp_path: Path
) -> None:
    """Read or edited, such a graph has it in front of the quantiser, and computes what it did."""
    model = Model(kind, tmp_path)
    model.step()
    expected = model.step()[0]
    frozen = model.frozen()
    assert kind not in [node.op for node in frozen.node]
    for graph in (import_frozen(frozen), import_frozen(GraphDefEditor(frozen).graph_def(["y"]))):
        taken = graph.get_tensor_by_name("second/act_quant/input:0").op.inputs[0]
        assert taken.op.type == kind
        assert taken.op.inputs[0].op.type == "FusedBatchNormV3"
        with v1.Session(graph=graph) as session:
            found = session.run("y:0", {"x:0": model.images})
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("training", [False, True])
def test_no_range_ends_above_6_behind_a_relu6(training: bool, tmp_path: Path) -> None:
    """Stored beyond 6 it is used as 6; its gradient pulls it back and never pushes it on."""
    model = Model("Relu6", tmp_path, training=training)
    model.step()
    name = "second/weights/ULQ_clip_max"
    with model.graph.as_default():
        (clip,) = (held for held in v1.trainable_variables() if held.op.name == name)
        results = {}
        for value in (6.0, 7.5):
            clip.load(value, model.session)
            results[value] = model.step()
    np.testing.assert_array_equal(results[6.0][0], results[7.5][0])
    at_6, beyond = (values[1 + model.names.index(name)] for values in results.values())
    assert beyond == pytest.approx(max(at_6, 0.0), rel=1e-5)
    scale = model.session.run(
        next(
            op.outputs[0]
            for op in model.graph.get_operations()
            if op.name == "second/act_quant/factors"
        )
    )
    assert scale == pytest.approx(6 / 255, rel=1e-6)
