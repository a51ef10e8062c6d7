"""The plan holds every op of a supported type once, with a decision and a reason."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings

from graphquant_core.exceptions import PluginError, UnknownNameError
from graphquant_core.graph import plan_graph
from graphquant_core.hookspecs import hookimpl
from graphquant_core.layer import Layer, Skip
from graphquant_core.registry import build_registry
from graphquant_core.testing.graphs import GraphSpec, build_graph, graph_specs

v1 = tf.compat.v1
SUPPORTED = {"MatMul", "Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "AvgPool"}


def dense(x: tf.Tensor, name: str = "dense") -> tf.Tensor:
    weight = tf.constant(np.ones((x.shape[-1], 3)), tf.float32)
    return tf.matmul(x, weight, name=name)


def only_skip(graph: tf.Graph) -> Skip:
    (skip,) = plan_graph(graph).skips
    return skip


@settings(max_examples=15)
@given(graph_specs())
def test_the_plan_names_every_supported_op_exactly_once(spec: GraphSpec) -> None:
    """Rows = ops of supported types, in order; planning leaves the graph as it was."""
    built = build_graph(spec)
    before = built.graph.as_graph_def().SerializeToString(deterministic=True)
    plan = plan_graph(built.graph)
    supported = [op.name for op in built.graph.get_operations() if op.type in SUPPORTED]
    assert [row.name for row in plan.rows] == supported
    assert [layer.name for layer in plan.layers] == list(built.layers)
    assert built.graph.as_graph_def().SerializeToString(deterministic=True) == before


def test_the_json_form_holds_every_row() -> None:
    """to_json parses, and has the layers and the skips with their reasons."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 3])
        dense(x)
        tf.matmul(x, x, transpose_b=True, name="gram")
    data = json.loads(plan_graph(graph).to_json())
    assert [layer["name"] for layer in data["layers"]] == ["dense"]
    assert data["layers"][0]["weight_shape"] == [3, 3]
    assert [skip["name"] for skip in data["skips"]] == ["gram"]
    assert "transpose_b" in data["skips"][0]["reason"]


def test_the_printed_plan_holds_every_row_and_the_counts() -> None:
    """str(plan) is a table with one line for each row and a count."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 3])
        dense(x)
        tf.matmul(x, x, transpose_b=True, name="gram")
    lines = str(plan_graph(graph)).splitlines()
    assert lines[1].split()[:4] == ["dense", "MatMul", "quantise", "3"]
    assert lines[2].split()[:3] == ["gram", "MatMul", "skip"]
    assert lines[-1] == "1 quantised, 1 skipped"


def test_a_weight_fed_by_a_placeholder_is_skipped_with_the_placeholders_name() -> None:
    """The reason names the placeholder."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 3])
        tf.matmul(x, v1.placeholder(tf.float32, [3, 2], "fed"))
    assert '"fed"' in only_skip(graph).reason


def test_a_matmul_of_two_activations_is_skipped() -> None:
    """Attention scores have no weight."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [3, 3])
        tf.matmul(tf.nn.relu(x), tf.nn.softmax(x))
    assert "no weight" in only_skip(graph).reason


def test_a_product_of_constants_is_skipped() -> None:
    """A layer whose activation is a constant is itself a constant."""
    graph = tf.Graph()
    with graph.as_default():
        dense(tf.constant(np.ones((2, 3)), tf.float32))
    assert "does not depend on the inputs" in only_skip(graph).reason


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
def test_other_floating_types_are_skipped_with_the_type(dtype: tf.DType) -> None:
    """Only float32 is quantised; the reason names what was found."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(dtype, [None, 3])
        tf.matmul(x, tf.constant(np.ones((3, 3)), dtype))
    assert dtype.name in only_skip(graph).reason


def test_layers_in_function_bodies_are_skips_that_name_function_and_caller() -> None:
    """A conv inside a v2 cond, and one inside a function, appear in the plan as skips."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        weight = v1.get_variable("w", [3, 3], use_resource=True)

        @tf.function
        def inner(value: tf.Tensor) -> tf.Tensor:
            return tf.matmul(value, weight)

        with tf.control_dependencies(None):
            y = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.matmul(x, weight), lambda: x)
        inner(y)
    plan = plan_graph(graph)
    assert plan.layers == ()
    assert [skip.op_type for skip in plan.skips] == ["MatMul", "MatMul"]
    assert all("inside the function" in skip.reason for skip in plan.skips)
    assert any("(If)" in skip.reason or "(StatelessIf)" in skip.reason for skip in plan.skips)


def test_ops_of_the_backward_pass_are_skips() -> None:
    """After tf.gradients, its MatMul and Conv2DBackpropInput are no layers."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [2, 6, 6, 3])
        weight = v1.get_variable("w", [3, 3, 3, 4])
        y = tf.nn.conv2d(tf.nn.conv2d(x, weight, 1, "SAME")[..., :3], weight, 1, "SAME")
        tf.gradients(tf.reduce_sum(y**2), [weight])
    plan = plan_graph(graph)
    assert [layer.op_type for layer in plan.layers] == ["Conv2D", "Conv2D"]
    assert {skip.op_type for skip in plan.skips} == {"Conv2DBackpropInput"}
    assert all("gradients" in skip.reason for skip in plan.skips)


def test_asking_for_a_skipped_layer_gives_the_reason_and_an_unknown_one_the_closest() -> None:
    """Plan.layer names the reason of a skip, and the closest name otherwise."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [3, 3])
        dense(x, "scores/MatMul")
        tf.matmul(x, tf.nn.relu(x), name="gram")
    plan = plan_graph(graph)
    with pytest.raises(UnknownNameError, match="no weight"):
        plan.layer("gram")
    with pytest.raises(UnknownNameError, match="scores/MatMul"):
        plan.layer("score/MatMul")


def test_a_handler_that_raises_or_lies_is_a_plugin_error_with_handler_and_layer() -> None:
    """The message names both; an exception of the plugin's is the cause."""

    class Handler:
        name = "odd"
        op_types = frozenset({"MatMul"})
        answer: object = None

        def describe(self, op: tf.Operation) -> Layer | Skip:
            if self.answer is None:
                raise KeyError("strides")
            return self.answer(op)  # type: ignore[operator, no-any-return]

    handler = Handler()

    class Plugin:
        @hookimpl
        def graphquant_layer_handlers(self) -> list[Handler]:
            return [handler]

    registry = build_registry([("odd", Plugin())])
    graph = tf.Graph()
    with graph.as_default():
        dense(v1.placeholder(tf.float32, [3, 3]))
    with pytest.raises(PluginError, match=r'"odd".*"dense"'):
        plan_graph(graph, registry)
    for answer, message in [
        (lambda op: "text", "not Layer or Skip"),
        (lambda op: Layer("other", op.type, 0, 1, (3, 3), (1,)), "another op's name"),
        (lambda op: Skip(op.name, op.type, " "), "reason"),
        (lambda op: Layer(op.name, op.type, 0, 0, (3, 3), (1,)), "ports"),
        (lambda op: Layer(op.name, op.type, 0, 2, (3, 3), (1,)), "ports"),
        (lambda op: Layer(op.name, op.type, 0, 1, (4, 3), (1,)), "weight_shape"),
        (lambda op: Layer(op.name, op.type, 0, 1, (3, 3), (2,)), "weight_channel_axes"),
        (lambda op: Layer(op.name, op.type, 0, 1, (3, 3), ()), "weight_channel_axes"),
        (lambda op: Layer(op.name, op.type, 0, 1, (3, 3), (1,), 2), "output_channel_axis"),
        (lambda op: Layer(op.name, op.type, 0, output_channel_axis=-3), "output_channel_axis"),
        (
            lambda op: Layer(op.name, op.type, 0, 1, (3, 3), (1,), weight_input_axis=2),
            "weight_input_axis",
        ),
        (lambda op: Layer(op.name, op.type, 0, 1, (3, 3), (0, 1)), "3 channels in the output.*9"),
    ]:
        handler.answer = answer
        with pytest.raises(PluginError, match=message):
            plan_graph(graph, registry)
