"""What quantisation costs a graph and a session, counted."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from graphquant_wq import WeightQuantizer

v1 = tf.compat.v1


class _CountingSession(v1.Session):
    """Counts its runs."""

    runs = 0

    def run(self, *arguments: Any, **options: Any) -> Any:
        self.runs += 1
        return super().run(*arguments, **options)


def _chain(layers: int) -> tf.Graph:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6], "x")
        for number in range(layers):
            weight = v1.get_variable(f"w{number}", [6, 6])
            x = tf.nn.relu(tf.matmul(x, weight, name=f"dense{number}"))
    return graph


@pytest.mark.parametrize("strategy", ["max_abs", "live_range"])
def test_a_layer_costs_three_ops(strategy: str) -> None:
    """Its entry, one call, and its result, whatever the formula is."""
    added = []
    for layers in (4, 9):
        graph = _chain(layers)
        before = len(graph.get_operations())
        WeightQuantizer(graph, bits=4, strategy=strategy)
        added.append(len(graph.get_operations()) - before)
    assert added[1] - added[0] == 3 * 5


@pytest.mark.parametrize("strategy", ["max_abs", "live_range", "learned_scale"])
def test_init_runs_the_session_at_most_twice(strategy: str) -> None:
    """Once to read everything and once to write, because a new kind of run is slow at first."""
    graph = _chain(6)
    quantizer = WeightQuantizer(graph, bits=2, strategy=strategy)
    with graph.as_default(), _CountingSession() as session:
        tf.gradients(graph.get_tensor_by_name("Relu_5:0"), v1.trainable_variables())
        session.run(v1.global_variables_initializer())
        session.runs = 0
        quantizer.init(session)
        assert session.runs <= 2
        session.runs = 0
        quantizer.update(session)
        assert session.runs == 0
