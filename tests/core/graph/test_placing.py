"""Quantisers that are stamped into a graph compute what they compute when built in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, PluginError
from graphquant_core.graph import Rewrite
from graphquant_core.graph.build_quantizer import build_quantizer
from graphquant_core.graph.function_call import call, concrete
from graphquant_core.graph.placing import QuantizerPlacer
from graphquant_core.graph.rewire import ACTIVATION_INPUT, marked_input
from graphquant_core.graph.template import trace
from graphquant_core.grid import INT8
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest

v1 = tf.compat.v1
Build = Callable[[tf.Tensor, QuantizerRequest], Any]


class Times:
    """Not a quantiser that anybody wants, but one that shows which variable it has."""

    name = "times"

    def build(self, values: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
        factor = v1.get_variable(
            f"{request.key}/factor", initializer=float(request.options["start"]), use_resource=True
        )

        @tf.function(autograph=False)
        def multiply(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
            return x * y

        output = multiply(values, factor.read_value())
        scale = tf.identity(factor.read_value(), name="scale")
        return FakeQuantized(output, scale, tf.constant(0), request.grid, tf.constant(True))


class Tripled:
    """Has a constant of its own."""

    name = "tripled"

    def build(self, values: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
        output = tf.multiply(values, tf.constant(3.0), name="tripled")
        return FakeQuantized(output, tf.identity(output), tf.constant(0), request.grid, None)


def request(key: str, start: float = 2.0) -> QuantizerRequest:
    return QuantizerRequest(key, INT8, options={"start": start})


def chain(names: Sequence[str], device: str = "") -> tf.Graph:
    graph = tf.Graph()
    with graph.as_default(), v1.device(device):
        x = v1.placeholder(tf.float32, [None, 2], "x")
        for name in names:
            x = tf.nn.relu(x, name=name)
    return graph


def place(graph: tf.Graph, wanted: dict[str, QuantizerRequest]) -> dict[str, tf.Tensor]:
    with Rewrite(graph) as rewrite:
        placer = QuantizerPlacer(rewrite)
        placed = {
            name: placer.activation(graph.get_operation_by_name(name), 0, Times(), asked)
            for name, asked in wanted.items()
        }
        placer.finish()
        for name, quantizer in placed.items():
            op = graph.get_operation_by_name(name)
            rewrite.redirect(op, 0, graph.get_tensor_by_name(quantizer.output))
    return {name: graph.get_tensor_by_name(quantizer.scale) for name, quantizer in placed.items()}


def run(graph: tf.Graph, fetch: str) -> np.ndarray:
    with v1.Session(graph=graph) as session:
        with graph.as_default():
            session.run(v1.global_variables_initializer())
        return session.run(fetch, {"x:0": [[1.0, 3.0]]})


def test_each_copy_has_its_own_input_scope_and_variable() -> None:
    """Two layers, two factors: the second takes what the first returns."""
    graph = chain(["net/first", "net/second"])
    place(graph, {"net/first": request("a", 2.0), "net/second": request("b", 5.0)})
    assert run(graph, "net/second:0").tolist() == [[10.0, 30.0]]
    names = {variable.op.name for variable in graph.get_collection("trainable_variables")}
    assert names == {"a/factor", "b/factor"}
    first, second = (graph.get_operation_by_name(f"net/{name}") for name in ("first", "second"))
    assert first.inputs[0].op.name.startswith("net/act_quant/")
    assert second.inputs[0].op.name.startswith("net/act_quant_1/")
    assert marked_input(second.inputs[0], ACTIVATION_INPUT) is first.outputs[0]


def test_one_key_is_one_variable_within_a_rewrite_and_across_two() -> None:
    """Layers of one key share the variable, also when the second comes later."""
    graph = chain(["first", "second", "third"])
    scales = place(graph, {"first": request("shared"), "second": request("shared")})
    scales |= place(graph, {"third": request("shared")})
    assert [v.op.name for v in graph.get_collection("variables")] == ["shared/factor"]
    assert run(graph, "third:0").tolist() == [[8.0, 24.0]]
    sources = {scale.op.inputs[0].op.inputs[0].op.inputs[0].op.name for scale in scales.values()}
    assert sources == {"shared/factor"}


def test_a_variable_that_a_failed_rewrite_left_behind_is_listed_again() -> None:
    """Otherwise nobody would initialise it."""
    graph = chain(["first"])
    with pytest.raises(ZeroDivisionError), Rewrite(graph) as rewrite:
        placer = QuantizerPlacer(rewrite)
        placer.activation(graph.get_operation_by_name("first"), 0, Times(), request("a"))
        placer.finish()
        raise ZeroDivisionError
    assert graph.get_collection("variables") == []
    place(graph, {"first": request("a")})
    assert run(graph, "first:0").tolist() == [[2.0, 6.0]]


def test_ops_follow_the_device_of_their_layer() -> None:
    """A tower's quantiser stands on the tower's device, its variable where the weights are."""
    graph = chain(["first"], "/CPU:1")
    place(graph, {"first": request("a")})
    quantizer = graph.get_operation_by_name("first").inputs[0].op
    assert quantizer.device == graph.get_operation_by_name("first").device
    assert graph.get_operation_by_name("a/factor").device == ""


def test_a_layer_in_a_cond_is_built_in_place_with_the_same_result() -> None:
    """The other path: ops created in the layer's own control flow."""
    v1.disable_control_flow_v2()
    try:
        graph = tf.Graph()
        with graph.as_default():
            x = v1.placeholder(tf.float32, [None, 2], "x")
            y = v1.cond(
                tf.reduce_sum(x) > 0, lambda: tf.nn.relu(x, name="inside"), lambda: tf.identity(x)
            )
            tf.identity(y, name="out")
        place(graph, {"cond/inside": request("a", 7.0)})
        assert run(graph, "out:0").tolist() == [[7.0, 21.0]]
    finally:
        v1.enable_control_flow_v2()


def test_a_quantiser_that_makes_ops_elsewhere_is_a_plugin_error() -> None:
    """The message names the op; nothing is added to the user's graph."""

    class Stray(Times):
        def build(self, values: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
            with v1.name_scope(None):
                tf.constant(1.0, name="elsewhere")
            return super().build(values, request)

    with pytest.raises(PluginError, match="elsewhere"):
        trace(Stray().build, request("a"), [None, 2])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda values, asked: 1 / 0, "failed: ZeroDivisionError"),
        (lambda values, asked: values, "not FakeQuantized"),
        (
            lambda values, asked: FakeQuantized(values[0], values[0], values[0], asked.grid),
            r"made float32 \(None,\) of float32 \(None, None\)",
        ),
    ],
)
def test_a_quantiser_that_breaks_its_contract_is_named(build: Build, message: str) -> None:
    """The PluginError has the name of the quantiser, and the graph is as before."""
    graph = chain(["a"])
    before = graph.as_graph_def()
    broken = SimpleNamespace(name="broken", build=build)
    with pytest.raises(PluginError, match=f'"broken".*{message}'), Rewrite(graph) as rewrite:
        placer = QuantizerPlacer(rewrite)
        placer.activation(graph.get_operation_by_name("a"), 0, broken, request("a"))
    assert graph.as_graph_def() == before


def test_a_request_that_a_quantiser_refuses_is_its_own_error() -> None:
    """A ConfigError out of build, such as for the grid, reaches the user as it is."""

    def build(values: tf.Tensor, asked: QuantizerRequest) -> FakeQuantized:
        raise ConfigError(f"{asked.grid} is too wide for {values.name}")

    with tf.Graph().as_default(), pytest.raises(ConfigError, match="too wide"):
        build_quantizer(SimpleNamespace(name="picky", build=build), tf.zeros([1]), request("a"))


def test_copies_take_their_constants_from_the_first() -> None:
    """One start value serves all variables of one kind: on one device, and only there."""
    graph = chain(["first", "second", "third"])
    place(graph, {name: request(name) for name in ("first", "second")})
    starts = {
        graph.get_operation_by_name(f"{name}/factor/Assign").inputs[1].op.name
        for name in ("first", "second")
    }
    assert len(starts) == 1
    with graph.as_default():
        assert {v.initial_value.op.name for v in graph.get_collection("variables")} == starts
    place(graph, {"third": request("third", 5.0)})
    assert run(graph, "third:0").tolist() == [[20.0, 60.0]]


def test_constants_are_shared_on_one_device_alone() -> None:
    """What a device computes takes no constant of another one, which would be copied each time."""
    graph = tf.Graph()
    devices = ["/CPU:0", "/CPU:1", "/CPU:0", "/CPU:1"]
    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 2], "x")
        for number, device in enumerate(devices):
            with v1.device(device):
                x = tf.nn.relu(x, name=f"layer{number}")
    with Rewrite(graph) as rewrite:
        placer = QuantizerPlacer(rewrite)
        for number in range(len(devices)):
            op = graph.get_operation_by_name(f"layer{number}")
            placer.activation(op, 0, Tripled(), request(f"key{number}"))
        placer.finish()
    taken = [op.inputs[1].op for op in graph.get_operations() if op.name.endswith("/tripled")]
    assert len(taken) == len(devices)
    assert len(set(taken)) == 2
    for op in graph.get_operations():
        if op.name.endswith("/tripled"):
            assert op.inputs[1].op.device == op.device


class Spread:
    """Calls a function whose result has the values' rows, and one whose result is a scalar."""

    name = "spread"

    def build(self, values: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
        def outer(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return x * 2.0, tf.reduce_sum(x, 1)

        rank = [None] * values.shape.rank
        function = concrete(tf.TensorSpec(rank, tf.float32))(outer)
        output, rows = call(function, [values], name="spread")
        return FakeQuantized(output, rows, tf.constant(0), request.grid, None)


@pytest.mark.parametrize("shape", [[None, 2], [3, 2], [3, None]])
def test_stamped_calls_have_the_shapes_that_tensorflow_infers_where_they_are_built(
    shape: list[int | None],
) -> None:
    """Neither the op nor its shapes tell that the import was spared inferring them."""
    found = []
    for stamped in (True, False):
        with tf.Graph().as_default() as graph:
            values = v1.placeholder(tf.float32, shape, "x")
            taker = tf.nn.relu(values, name="a").op
        with Rewrite(graph) as rewrite:
            if stamped:
                placer = QuantizerPlacer(rewrite)
                names = placer.activation(taker, 0, Spread(), request("a"))
                placer.finish()
                placed = [graph.get_tensor_by_name(name) for name in (names.output, names.scale)]
            else:
                with graph.as_default():
                    built = Spread().build(values, request("a"))
                    # What an import makes of the same nodes, not what Python knows besides.
                    graph_def = graph.as_graph_def()
                with tf.Graph().as_default():
                    tensors = [built.output.name, built.scale.name]
                    placed = tf.import_graph_def(graph_def, return_elements=tensors, name="")
        attributes = set(placed[0].op.node_def.attr)
        found.append(([tensor.shape.as_list() for tensor in placed], attributes))
    assert found[0] == found[1]
