"""A rewrite happens whole or not at all, and only where TensorFlow honours it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import (
    FinalizedGraphError,
    GradientsExistError,
    GraphStateError,
    ModelFileError,
    SessionExistsError,
)
from graphquant_core.graph import GraphView, Rewrite, check_rewritable
from graphquant_core.graph.rewire import (
    ACTIVATION_INPUT,
    ACTIVATION_OUTPUT,
    mark,
    marked_input,
    role_of,
)

v1 = tf.compat.v1


def model() -> tuple[tf.Graph, tf.Tensor]:
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [2, 3], "x")
        weight = v1.get_variable("w", [3, 3], initializer=v1.ones_initializer())
        return graph, tf.matmul(x, weight, name="dense")


def doubled(graph: tf.Graph, rewrite: Rewrite) -> None:
    op = graph.get_operation_by_name("dense")
    with rewrite.beside(op):
        new = op.inputs[0] * 2.0
    rewrite.redirect(op, 0, new)


def run(graph: tf.Graph) -> np.ndarray:
    with v1.Session(graph=graph) as session:
        session.run([op for op in graph.get_operations() if op.name.endswith("/Assign")])
        return session.run("dense:0", {"x:0": np.ones((2, 3), np.float32)})


def test_a_redirected_input_is_what_the_op_computes_from() -> None:
    """The edit is in the op's inputs, the graph's serialised form, and what a session runs."""
    graph, _ = model()
    with Rewrite(graph) as rewrite:
        doubled(graph, rewrite)
    op = graph.get_operation_by_name("dense")
    assert op.inputs[0].op.type == "Mul"
    node = next(node for node in graph.as_graph_def().node if node.name == "dense")
    assert node.input[0] == op.inputs[0].op.name
    np.testing.assert_array_equal(run(graph), np.full((2, 3), 6.0))


def test_a_failure_in_the_block_puts_every_input_and_collection_back() -> None:
    """Inputs, collections and the variable store are as before; a second try starts afresh."""
    graph, output = model()
    before = {name: list(graph.get_collection(name)) for name in graph.get_all_collection_keys()}
    inputs = list(output.op.inputs)
    with pytest.raises(ZeroDivisionError), Rewrite(graph) as rewrite:
        doubled(graph, rewrite)
        with rewrite.beside(output.op):
            v1.get_variable("added", [], use_resource=True)
        raise ZeroDivisionError
    assert all(now is then for now, then in zip(output.op.inputs, inputs, strict=True))
    for name in graph.get_all_collection_keys():
        assert graph.get_collection(name) == before.get(name, []), name
    with Rewrite(graph) as rewrite, rewrite.beside(output.op):
        again = v1.get_variable("added", [], use_resource=True)
    assert any(again is known for known in graph.get_collection(v1.GraphKeys.GLOBAL_VARIABLES))
    np.testing.assert_array_equal(run(graph), np.full((2, 3), 3.0))


def test_a_redirect_to_another_dtype_is_refused() -> None:
    """TensorFlow itself would fail only when a session runs."""
    graph, output = model()
    with pytest.raises(TypeError, match="float32, not float64"), Rewrite(graph) as rewrite:
        with rewrite.beside(output.op):
            wide = tf.cast(output.op.inputs[0], tf.float64)
        rewrite.redirect(output.op, 0, wide)


def test_new_ops_ignore_the_scopes_that_the_caller_has_open() -> None:
    """Name scope, control dependencies, variable scope and device of the caller don't reach in."""
    graph, output = model()
    with graph.as_default():
        barrier = tf.no_op("barrier")
        with (
            v1.variable_scope("outer", regularizer=tf.reduce_sum),
            tf.control_dependencies([barrier]),
            v1.name_scope("named"),
            Rewrite(graph) as rewrite,
            rewrite.beside(output.op),
        ):
            added = tf.identity(output.op.inputs[0], name="mine")
            variable = v1.get_variable("scalar", [], use_resource=True)
    assert added.op.name == "mine"
    assert added.op.control_inputs == []
    assert variable.op.name == "scalar"
    assert graph.get_collection(v1.GraphKeys.REGULARIZATION_LOSSES) == []


def test_new_ops_stand_on_the_device_of_the_op_beside() -> None:
    """A tower's quantisers run where the tower runs."""
    graph = tf.Graph()
    with graph.as_default(), v1.device("/CPU:1"):
        x = v1.placeholder(tf.float32, [2, 3])
        op = tf.nn.relu(x).op
    with Rewrite(graph) as rewrite, rewrite.beside(op):
        added = tf.identity(op.inputs[0])
    assert added.device == op.device


def test_an_op_in_a_v1_loop_is_rewritten_inside_the_loop() -> None:
    """The new op joins the loop: the result is what the rewritten body computes, each time."""
    v1.disable_control_flow_v2()
    try:
        graph = tf.Graph()
        with graph.as_default():
            x = v1.placeholder(tf.float32, [1, 2], "x")

            def body(step: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return step + 1, tf.matmul(value, tf.eye(2), name="inside")

            _, y = v1.while_loop(lambda step, _: step < 3, body, (tf.constant(0), x))
        op = next(op for op in graph.get_operations() if op.name.endswith("inside"))
        with Rewrite(graph) as rewrite:
            with rewrite.beside(op):
                new = op.inputs[0] * 2.0
            rewrite.redirect(op, 0, new)
        with v1.Session(graph=graph) as session:
            result = session.run(y, {x: np.ones((1, 2), np.float32)})
    finally:
        v1.enable_control_flow_v2()
    np.testing.assert_array_equal(result, np.full((1, 2), 8.0))


def finalise(graph: tf.Graph) -> object:
    graph.finalize()
    return None


def differentiate(graph: tf.Graph) -> object:
    with graph.as_default():
        weight = graph.get_collection(v1.GraphKeys.TRAINABLE_VARIABLES)[0]
        return tf.gradients(tf.reduce_sum(graph.get_tensor_by_name("dense:0")), [weight])


def optimise(graph: tf.Graph) -> object:
    with graph.as_default():
        loss = tf.reduce_sum(graph.get_tensor_by_name("dense:0"))
        return v1.train.AdamOptimizer().minimize(loss)


def start_session(graph: tf.Graph) -> object:
    session = v1.Session(graph=graph)
    session.run([op for op in graph.get_operations() if op.name.endswith("/Assign")])
    return session


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (finalise, FinalizedGraphError),
        (differentiate, GradientsExistError),
        (optimise, GradientsExistError),
        (start_session, SessionExistsError),
    ],
)
def test_a_graph_on_which_a_rewrite_would_fail_or_be_ignored_is_refused_unchanged(
    spoil: Callable[[tf.Graph], object], error: type[GraphStateError]
) -> None:
    """The error comes before anything is added to the graph."""
    graph, _ = model()
    kept = spoil(graph)
    before = graph.as_graph_def().SerializeToString(deterministic=True)
    with pytest.raises(error), Rewrite(graph) as rewrite:
        doubled(graph, rewrite)
    assert graph.as_graph_def().SerializeToString(deterministic=True) == before
    if isinstance(kept, v1.Session):
        kept.close()


def test_a_closed_session_and_a_session_of_another_graph_are_no_obstacle() -> None:
    """Only an open session on this graph would ignore the edit."""
    graph, _ = model()
    start_session(graph).close()  # type: ignore[attr-defined]
    other, _ = model()
    session = start_session(other)
    check_rewritable(GraphView(graph))
    session.close()  # type: ignore[attr-defined]


def test_a_transposed_convolution_in_the_forward_pass_is_no_gradient() -> None:
    """Conv2DBackpropInput alone doesn't make a graph refuse."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [1, 4, 4, 2])
        weight = v1.get_variable("w", [2, 2, 3, 2])
        tf.nn.conv2d_transpose(x, weight, [1, 8, 8, 3], 2)
    check_rewritable(GraphView(graph))


def test_a_mark_outlives_freezing_and_importing() -> None:
    """An exporter finds what a rewrite marked in the frozen graph, under any prefix."""
    graph, output = model()
    with graph.as_default():
        entry = tf.identity(output, name="entry")
        mark(entry.op, ACTIVATION_INPUT)
        end = tf.nn.relu(entry * 2.0, name="end")
        with v1.Session() as session:
            session.run([op for op in graph.get_operations() if op.name.endswith("/Assign")])
            frozen = v1.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), ["end"]
            )
    imported = tf.Graph()
    with imported.as_default():
        tf.import_graph_def(frozen, name="prefix")
    found = marked_input(imported.get_tensor_by_name("prefix/end:0"), ACTIVATION_INPUT)
    assert found.name == "prefix/dense:0"
    assert role_of(end.op) is None
    with pytest.raises(ValueError, match="whose first op is gone"):
        marked_input(imported.get_tensor_by_name("prefix/x:0"), ACTIVATION_INPUT)


def test_a_mark_that_is_gone_is_not_that_of_the_quantiser_before() -> None:
    """Two quantisers in a row, the second without its entry: an error, not the first input."""
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [2], "x")
        entry = tf.identity(x, name="entry")
        first = tf.identity(entry * 2.0, name="first")
        second = tf.identity(tf.nn.relu(first) * 3.0, name="second")
    mark(entry.op, ACTIVATION_INPUT)
    for end in (first, second):
        mark(end.op, ACTIVATION_OUTPUT)
    assert marked_input(first, ACTIVATION_INPUT) is x
    with pytest.raises(ModelFileError, match='"second" is the result of a fake quantiser whose'):
        marked_input(second, ACTIVATION_INPUT)
