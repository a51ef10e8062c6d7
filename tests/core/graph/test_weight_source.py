"""Every way in which a weight reaches a layer leads back to what holds it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph import GraphView, WeightSource, find_weight_source

v1 = tf.compat.v1


def variable(name: str = "w", shape: tuple[int, ...] = (4, 3), resource: bool = True) -> tf.Tensor:
    return v1.get_variable(name, shape, use_resource=resource)


def partitioned() -> tf.Tensor:
    with v1.variable_scope("p", partitioner=v1.fixed_size_partitioner(2)):
        return tf.convert_to_tensor(v1.get_variable("w", [4, 3]))


def entered() -> tf.Tensor:
    weight = tf.convert_to_tensor(variable())
    return tf.raw_ops.Enter(data=weight, frame_name="loop", is_constant=True)


def switched() -> tf.Tensor:
    weight = tf.convert_to_tensor(variable())
    return tf.raw_ops.Switch(data=weight, pred=v1.placeholder(tf.bool, []))[1]


CHAINS: dict[str, tuple[Callable[[], tf.Tensor], str, str]] = {
    "reference variable": (lambda: tf.identity(variable(resource=False)), "variable", "w"),
    "resource variable": (lambda: tf.convert_to_tensor(variable()), "variable", "w"),
    "cast": (
        lambda: tf.cast(v1.get_variable("w", [4, 3], tf.float16), tf.float32), "variable", "w",
    ),
    "reshape": (lambda: tf.reshape(variable(shape=(2, 2, 3)), [4, 3]), "variable", "w"),
    "expand dims": (lambda: tf.expand_dims(variable(shape=(3, 2, 3)), 0), "variable", "w"),
    "partitions": (partitioned, "partitioned", "p/w/ConcatPartitions/concat"),
    "v1 loop": (entered, "variable", "w"),
    "constant": (lambda: tf.constant(np.ones((4, 3)), tf.float32, name="c"), "constant", "c"),
    "frozen": (
        lambda: tf.identity(tf.constant(np.ones((4, 3)), tf.float32, name="c")), "constant", "c",
    ),
    "computed": (lambda: tf.multiply(variable(), 2.0, name="twice"), "computed", "twice:0"),
}  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
def test_a_chain_leads_to_its_source(chain: str) -> None:
    """Kind and name of the source, whatever stands between it and the port."""
    build, kind, name = CHAINS[chain]
    graph = tf.Graph()
    with graph.as_default():
        tensor = build()
        source = find_weight_source(GraphView(graph), tensor)
    assert isinstance(source, WeightSource)
    assert (source.kind, source.name) == (kind, name)


def test_a_switch_of_a_v1_cond_whose_predicate_is_fed_still_leads_to_its_variable() -> None:
    """Which side a weight is sent to may depend on data; what it is doesn't."""
    graph = tf.Graph()
    with graph.as_default():
        source = find_weight_source(GraphView(graph), switched())
    assert isinstance(source, WeightSource)
    assert source.name == "w"


def test_two_reads_of_a_variable_have_one_source() -> None:
    """Shared weights are recognised by the variable, not by the read op."""
    graph = tf.Graph()
    with graph.as_default():
        weight = variable()
        first, second = weight.read_value(), weight.read_value()
        view = GraphView(graph)
        sources = [find_weight_source(view, tensor) for tensor in (first, second)]
    assert first.op is not second.op
    assert [getattr(source, "name", None) for source in sources] == ["w", "w"]


def test_what_depends_on_data_has_no_source() -> None:
    """The answer is then a sentence that names the placeholder, or the op in the way."""
    graph = tf.Graph()
    with graph.as_default():
        fed = v1.placeholder(tf.float32, [4, 3], "fed")
        drawn = tf.random.normal([4, 3]) * variable()
        view = GraphView(graph)
        answers = [find_weight_source(view, tensor) for tensor in (tf.identity(fed), drawn)]
    assert all(isinstance(answer, str) for answer in answers)
    assert "fed" in str(answers[0])
