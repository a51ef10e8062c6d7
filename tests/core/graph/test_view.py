"""A view of a graph that grows."""

from __future__ import annotations

import gc

import tensorflow as tf
from hypothesis import HealthCheck, given, settings

from graphquant_core.graph import GraphView, Rewrite
from graphquant_core.graph.collection import paused_collection
from graphquant_core.testing.graphs import GraphSpec, build_graph, graph_specs


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(graph_specs(max_layers=3))
def test_an_extended_view_answers_what_a_new_one_does(spec: GraphSpec) -> None:
    """Behind every second op, one that is added and takes over who took its result."""
    graph = build_graph(spec).graph
    view = GraphView(graph)
    tensors = [tensor for op in view.operations[::2] for tensor in op.outputs]
    taken = [(tensor, view.consumers(tensor)) for tensor in tensors if tensor.dtype == tf.float32]
    assert any(view.depends_on_data(tensor) for tensor in tensors)
    with Rewrite(graph, view) as rewrite, graph.as_default():
        for tensor, consumers in taken:
            added = tf.negative(tensor)
            for op, port in consumers:
                rewrite.redirect(op, port, added)
        rewrite.update_view()
    anew = GraphView(graph)
    assert view.operations == anew.operations
    for op in anew.operations:
        for tensor in op.outputs:
            assert sorted(_named(view.consumers(tensor))) == sorted(_named(anew.consumers(tensor)))
            assert view.depends_on_data(tensor) == anew.depends_on_data(tensor)


def test_data_comes_from_the_ops_that_bring_it_one_by_one() -> None:
    """Also where ops of one type have inputs or none, as calls have."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [2])
        drawn = tf.random.uniform([2])
        stored = tf.compat.v1.get_variable("stored", [2]) * tf.constant(2.0)
        read = tf.compat.v1.py_func(lambda: 1.0, [], tf.float32)
        blended = tf.compat.v1.py_func(lambda value: value, [stored], tf.float32)
        default = tf.compat.v1.placeholder_with_default(stored, [2])
        calls = [tf.function(lambda: tf.constant(1.0), autograph=False)()]
        calls += [tf.function(tf.negative, autograph=False)(one) for one in (stored, x)]
        for tensor in (x, drawn, stored, read, blended, default, *calls):
            tf.negative(tensor)
    view = GraphView(graph)
    expected = view.downstream([op for op in view.operations if view.brings_data(op)])
    found = {op for op in view.operations if op.outputs and view.depends_on_data(op.outputs[0])}
    assert found == {op for op in expected if op.outputs}
    depending = [view.depends_on_data(tensor) for tensor in (x, drawn, stored, default, calls[2])]
    assert depending == [True, True, False, True, True]


def _named(consumers: list[tuple[tf.Operation, int]]) -> list[tuple[str, int]]:
    return [(op.name, port) for op, port in consumers]


def test_garbage_is_collected_again_behind_the_block() -> None:
    """Also where the block raises, and not where it was off before."""
    for before in (True, False):
        (gc.enable if before else gc.disable)()
        try:
            with paused_collection():
                assert not gc.isenabled()
                raise ValueError
        except ValueError:
            assert gc.isenabled() == before
        finally:
            gc.enable()
