"""Nodes come into a graph as `tf.import_graph_def` brings them there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph.import_nodes import import_nodes

v1 = tf.compat.v1


@tf.function(autograph=False)
def doubled(x: tf.Tensor) -> tf.Tensor:
    return x * 2.0


def source(device: str, beside: str) -> Any:
    """Takes "values:1": a variable, a call, a control input, an op of two outputs.

    Its last op stands beside the one called `beside`.
    """
    with tf.Graph().as_default() as graph, v1.device(device):
        values = tf.identity_n([tf.constant(0.0), v1.placeholder(tf.float32, [2])], name="values")
        variable = v1.get_variable("factor", initializer=3.0, use_resource=True)
        with tf.control_dependencies([tf.constant(1.0, name="waited")]):
            times = tf.multiply(values[1], variable.read_value(), name="times")
        parts = tf.split(doubled(times), 2, name="parts")
        last = tf.add(*parts, name="sum").op
        if beside:
            last._set_attr("_class", v1.AttrValue(list={"s": [f"loc:@{beside}".encode()]}))
    graph_def = graph.as_graph_def()
    kept = [node for node in graph_def.node if node.name not in ("Const", "Placeholder", "values")]
    del graph_def.node[:]
    graph_def.node.extend(kept)
    return graph_def


def empty() -> tuple[tf.Graph, dict[str, tf.Tensor]]:
    with tf.Graph().as_default() as graph, v1.device("/device:CPU:2"):
        found = tf.split(tf.constant([1.0, 2.0, 3.0, 4.0]), 2, name="given")
    return graph, {"values:1": found[1]}


@pytest.mark.parametrize("beside", ["", "times"])
@pytest.mark.parametrize("device", ["", "/device:CPU:0"])
def test_a_graph_is_the_same_by_either_import(device: str, beside: str) -> None:
    """Nodes, functions, shapes and devices, in a caller's scopes, too; a session runs them."""
    graph_def = source(device, beside)
    expected, inputs = empty()
    with expected.as_default():
        tf.import_graph_def(graph_def, inputs, name="")
        with tf.control_dependencies([expected.get_operation_by_name("given")]):
            pass  # which leaves a mark
    graph, inputs = empty()
    with (
        graph.as_default(),
        v1.name_scope("scope"),
        v1.device("/device:CPU:1"),
        tf.control_dependencies([graph.get_operation_by_name("given")]),
    ):
        import_nodes(graph, graph_def, inputs)
    assert graph.as_graph_def(add_shapes=True) == expected.as_graph_def(add_shapes=True)
    assert graph.unique_name("times") == "times_1"
    config = v1.ConfigProto(device_count={"CPU": 3})
    with v1.Session(graph=graph, config=config) as session:
        session.run("factor/Assign")
        np.testing.assert_array_equal(session.run("sum:0"), (3.0 + 4.0) * 3.0 * 2.0)


def test_no_node_gets_another_name() -> None:
    """Where a name is taken, nothing else is imported under a name that nobody would look for."""
    graph, inputs = empty()
    import_nodes(graph, source("", beside=""), inputs)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"'factor|'times|'waited"):
        import_nodes(graph, source("", beside=""), inputs)
    assert len([op for op in graph.get_operations() if op.name.startswith("times")]) == 1
