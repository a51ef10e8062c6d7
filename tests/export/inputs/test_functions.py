"""`load_model` on graphs with functions: those that hide layers are inlined, others stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph import plan_graph
from graphquant_export.inputs import LoadedModel, load_model

v1 = tf.compat.v1

WEIGHT = np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype(np.float32)
IMAGES = np.random.default_rng(1).normal(size=(2, 5, 5, 2)).astype(np.float32)


def _frozen(path: Path, build: Callable[[tf.Tensor], Any]) -> Path:
    """Writes the graph of `build`, in which functions are called, to a frozen GraphDef."""
    with tf.Graph().as_default() as graph:
        build(v1.placeholder(tf.float32, [None, 5, 5, 2], "images"))
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def _run(graph_def: tf.compat.v1.GraphDef, tensors: list[str]) -> list[Any]:
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run(tensors, {"images:0": IMAGES})


def _as_written(path: Path, tensors: list[str]) -> list[Any]:
    return _run(v1.GraphDef.FromString(path.read_bytes()), tensors)


def _types(model: LoadedModel) -> list[str]:
    return [node.op for node in model.graph_def.node]


@pytest.mark.parametrize(
    "options",
    [{}, {"jit_compile": True}, {"experimental_attributes": {"_noinline": True}}],
    ids=["plain", "jit_compile", "noinline"],
)
def test_a_function_that_hides_a_layer_is_inlined(tmp_path: Path, options: dict[str, Any]) -> None:
    """The graph computes the same, its output keeps its name, and the layer is planned."""

    @tf.function(autograph=False, **options)
    def inner(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(x, WEIGHT, 1, "SAME", name="conv")

    @tf.function(autograph=False)
    def outer(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(inner(x + 1))

    path = _frozen(tmp_path / "model.pb", outer)
    model = load_model(path)
    (call,) = model.outputs
    assert "PartitionedCall" in call
    assert not {"PartitionedCall", "StatefulPartitionedCall"} & set(_types(model))
    assert [layer.name for layer in plan_graph(model.graph()).layers] == ["conv"]
    np.testing.assert_allclose(
        _run(model.graph_def, [f"{call}:0"]), _as_written(path, [f"{call}:0"]), rtol=1e-5, atol=1e-5
    )


def test_a_function_that_is_called_twice_is_two_layers(tmp_path: Path) -> None:
    """Each call's layer has a name of its own, and both are planned."""

    @tf.function(autograph=False)
    def block(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(x, WEIGHT, 1, "SAME", name="conv")

    path = _frozen(tmp_path / "model.pb", lambda x: tf.add(block(x), block(-2 * x), name="sum"))
    model = load_model(path)
    assert len({layer.name for layer in plan_graph(model.graph()).layers}) == 2
    np.testing.assert_allclose(
        _run(model.graph_def, ["sum:0"]), _as_written(path, ["sum:0"]), rtol=1e-5, atol=1e-5
    )


def test_each_result_of_a_call_becomes_an_output(tmp_path: Path) -> None:
    """A call with two results that nothing takes is two outputs, in their order."""

    @tf.function(autograph=False)
    def heads(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = tf.nn.conv2d(x, WEIGHT, 1, "SAME", name="conv")
        return tf.reduce_mean(features, [1, 2]), tf.nn.relu(features)

    path = _frozen(tmp_path / "model.pb", heads)
    model = load_model(path)
    assert len(model.outputs) == 2
    call = model.outputs[0]
    expected = _as_written(path, [f"{call}:0", f"{call}:1"])
    found = _run(model.graph_def, [f"{name}:0" for name in model.outputs])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_function_without_layers_stays(tmp_path: Path) -> None:
    """The nodes of a graph whose functions hold no layer are what they were."""

    @tf.function(autograph=False)
    def scale(x: tf.Tensor) -> tf.Tensor:
        return 3 * x

    path = _frozen(
        tmp_path / "model.pb", lambda x: scale(tf.nn.conv2d(x, WEIGHT, 1, "SAME", name="conv"))
    )
    written = v1.GraphDef.FromString(path.read_bytes())
    assert {node.name for node in load_model(path).graph_def.node} == {
        node.name for node in written.node
    }


def test_a_layer_in_a_loop_is_a_skip(tmp_path: Path) -> None:
    """While stays While: its layer is skipped with a reason, the layer beside it is planned."""

    @tf.function(autograph=False)
    def body(x: tf.Tensor) -> tf.Tensor:
        square = WEIGHT[:, :, :, :2]
        x = tf.nn.conv2d(x, square, 1, "SAME", name="first")
        return tf.while_loop(
            lambda index, _: index < 2,
            lambda index, y: (index + 1, tf.nn.conv2d(y, square, 1, "SAME", name="looped")),
            (tf.constant(0), x),
        )[1]

    path = _frozen(tmp_path / "model.pb", body)
    model = load_model(path)
    plan = plan_graph(model.graph())
    assert [layer.name for layer in plan.layers] == ["first"]
    assert [(skip.op_type, "inside the function" in skip.reason) for skip in plan.skips] == [
        ("Conv2D", True)
    ]
    call = f"{model.outputs[0]}:0"
    np.testing.assert_allclose(
        _run(model.graph_def, [call]), _as_written(path, [call]), rtol=1e-4, atol=1e-4
    )


def test_variables_in_a_loop_become_constants(tmp_path: Path) -> None:
    """A SavedModel whose While body reads a variable is frozen whole."""

    class Module(tf.Module):
        """Multiplies by a variable, twice."""

        def __init__(self) -> None:
            self.factor = tf.Variable([2.0, 3.0], name="factor")

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")], autograph=False)
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return tf.while_loop(
                lambda index, _: index < 2,
                lambda index, y: (index + 1, y * self.factor),
                (tf.constant(0), x),
            )[1]

    module = Module()
    tf.saved_model.save(module, str(tmp_path / "saved"))
    model = load_model(tmp_path / "saved")
    assert "VarHandleOp" not in _types(model)
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(model.graph_def, name="")
        found = session.run(f"{model.outputs[0]}:0", {"x:0": [[1.0, 1.0]]})
    np.testing.assert_array_equal(found, [[4.0, 9.0]])
