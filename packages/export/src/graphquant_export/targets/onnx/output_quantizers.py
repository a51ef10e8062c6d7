"""Quantisers for what comes out of a layer and goes into no quantised one.

A runtime sums a layer in integers when it may also round the result: when a quantiser stands
behind it. A record holds quantisers of inputs alone, so that a layer whose result is added to
another, or is an output of the model, has none until calibration samples give its range.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

import attrs
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import fake_quantizer
from graphquant_core.graph.frozen.shape_ops import SHAPE_TYPES
from graphquant_core.grid import INT8
from graphquant_core.quantize import affine_params
from graphquant_export.simulation import SimulatedGraph, SimulatedLayer, observe_ranges
from graphquant_export.targets.onnx.conversion import Quantizer

logger = logging.getLogger(__name__)

FLOAT_RESULTS = frozenset({"MatMul"})
"""Ops whose integer kernels give float results: a quantiser behind them would only round."""
_ACTIVATIONS = ("Relu", "Relu6")
_MOVES = ("Identity", "MaxPool", "Reshape", "Squeeze")
"""Ops that a runtime runs on codes as well: a quantiser behind one may as well stand before it."""


@attrs.frozen
class _Result:
    """A tensor that comes out of layers.

    Attributes:
        node: Name of its node.
        layers: Names of the layers.
        floats: (node, port) of what takes it without quantising it.
        shapes: (node, port) of what reads its shape alone.
        quantizers: Names of the quantisers that take it, or what moves its values.
        direct: Names of those that take it itself.
    """

    node: str
    layers: tuple[str, ...]
    floats: tuple[tuple[str, int], ...]
    shapes: tuple[tuple[str, int], ...]
    quantizers: tuple[str, ...]
    direct: tuple[str, ...]

    @property
    def has_range(self) -> bool:
        """Whether the one quantiser behind it takes the result itself."""
        return len(self.direct) == 1 and self.quantizers == self.direct


def quantize_results(
    simulated: SimulatedGraph,
    quantizers: Mapping[str, Quantizer],
    calibration: Mapping[str, npt.ArrayLike] | None,
) -> tuple[tf.compat.v1.GraphDef, dict[str, Quantizer]]:
    """The simulated graph with more quantisers, and all of them by the name of their node.

    A result that one quantiser takes already goes through that one to everything else that takes
    it. Any other gets one with its range on `calibration`. Without calibration no number changes,
    and the layers are named in a warning. Without a quantiser, what reads the shape of a result
    alone would keep it float, too: it reads the quantised one.

    A Relu or Relu6 that its quantiser doesn't make needless keeps a runtime from rounding the sums
    before it. The same quantiser then stands before it as well, which changes no number: 0.0 is on
    its grid, and both functions only cut off what lies outside of an interval.

    Args:
        simulated: The simulation.
        quantizers: The quantisers that it has.
        calibration: Samples for each placeholder, by name.

    Raises:
        ConfigError, RangeError, NonFiniteError: as `observe_ranges`.
    """
    editor = GraphDefEditor(simulated.graph_def)
    every = _results(editor, simulated, quantizers)
    for result in every:
        for taker, port in result.shapes if result.direct else ():
            editor.set_input(taker, port, result.direct[0])
    results = [result for result in every if result.floats or not result.quantizers]
    if calibration is None:
        if results:
            logger.warning(
                "no quantiser follows the layers %s: runtimes sum them in float; give "
                "calibration samples to have their results quantised",
                ", ".join(f'"{name}"' for result in results for name in result.layers),
            )
        calibration, results = {}, []
    added = dict(quantizers)
    unsigned = any(quantizer.unsigned for quantizer in quantizers.values())
    unknown = [result.node for result in results if not result.has_range]
    ranges = observe_ranges(simulated.graph_def, unknown, calibration)
    for result in results:
        if result.node in ranges:
            name, quantizer = _add(editor, result.node, *ranges[result.node])
            added[name] = attrs.evolve(quantizer, unsigned=unsigned)
        else:
            (name,) = result.direct
        for taker, port in result.floats:
            editor.set_input(taker, port, name)
    for result in every:
        added |= _quantize_before_activation(editor, result, added)
    return editor.graph_def(simulated.outputs), added


def _results(
    editor: GraphDefEditor, simulated: SimulatedGraph, quantizers: Collection[str]
) -> list[_Result]:
    by_node: dict[str, list[SimulatedLayer]] = {}
    for layer in simulated.layers:
        if layer.op_type not in FLOAT_RESULTS:
            by_node.setdefault(_activated(editor, layer.result, simulated.outputs), []).append(
                layer
            )
    found = []
    for node, layers in by_node.items():
        every = editor.consumers(node)
        shapes = tuple(end for end in every if editor.node(end[0]).op in SHAPE_TYPES)
        takers = [end for end in every if end not in shapes]
        ends = {taker: _quantizer_behind(editor, taker, quantizers) for taker, _ in takers}
        floats = tuple((taker, port) for taker, port in takers if ends[taker] is None)
        ending = tuple(dict.fromkeys(name for name in ends.values() if name is not None))
        names = tuple(layer.name for layer in layers)
        direct = tuple(taker for taker, _ in takers if taker in quantizers)
        found.append(_Result(node, names, floats, shapes, ending, direct))
    return found


def _activated(editor: GraphDefEditor, result: str, outputs: Sequence[str]) -> str:
    """The activation function that alone takes `result`, else `result`."""
    takers = editor.consumers(result)
    if len(takers) != 1 or result in outputs:
        return result
    (taker, _), *_ = takers
    fused = editor.node(taker).op in _ACTIVATIONS and taker not in outputs
    return taker if fused else result


def _quantizer_behind(
    editor: GraphDefEditor, taker: str, quantizers: Collection[str]
) -> str | None:
    """The quantiser that is `taker`, or that alone takes what it moves."""
    while taker not in quantizers:
        takers = editor.consumers(taker)
        if editor.node(taker).op not in _MOVES or len(takers) != 1:
            return None
        taker = takers[0][0]
    return taker


def _quantize_before_activation(
    editor: GraphDefEditor, result: _Result, quantizers: Mapping[str, Quantizer]
) -> dict[str, Quantizer]:
    """The quantiser that is added before the activation function of `result`, by its name."""
    ends = {
        _quantizer_behind(editor, taker, quantizers) for taker, _ in editor.consumers(result.node)
    }
    (name, *others) = ends or {None}
    node = editor.node(result.node)
    if others or name is None or node.op not in _ACTIVATIONS:
        return {}
    quantizer = quantizers[name]
    if node.op == "Relu" and quantizer.offset == -128:
        return {}
    scope = editor.unique_name(f"{result.node}/sums_quant")
    copied = type(node)()
    copied.CopyFrom(editor.node(name))
    copied.name = f"{scope}/FakeQuant"
    copied.input[:] = [node.input[0]]
    editor.set_input(result.node, 0, editor.add(copied))
    return {copied.name: attrs.evolve(quantizer, scope=scope)}


def _add(editor: GraphDefEditor, node: str, low: float, high: float) -> tuple[str, Quantizer]:
    params = affine_params(low, high, INT8)
    scale, offset = float(params.scale), int(params.offset)
    scope = editor.unique_name(f"{node}/result_quant")
    name = editor.add(fake_quantizer(f"{scope}/FakeQuant", node, scale, offset))
    return name, Quantizer(scope, scale, offset)
