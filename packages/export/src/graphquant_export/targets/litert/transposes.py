"""Leaves out pairs of transpositions that undo each other.

A graph with its channels first gets two around each convolution. Between neighbours, where a fake
quantiser stands between them, TensorFlow's converter keeps both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from graphquant_export.targets.litert.float_graph import Edge, FloatGraph, Op


def without_inverse_transposes(graph: FloatGraph) -> FloatGraph:
    """`graph` without each TRANSPOSE that undoes the one before it, and without what is unused."""
    givers = {tensor: op for op in graph.ops for tensor in op.outputs}
    orders = {id(op): _order(graph, op) for op in graph.ops if op.kind == "TRANSPOSE"}
    direct: dict[int, Edge] = {}
    ops: list[Op] = []
    for op in graph.ops:
        inputs = tuple(_through(direct, edge) for edge in op.inputs)
        ops.append(attrs.evolve(op, inputs=inputs))
        before = givers.get(inputs[0].tensor) if op.kind == "TRANSPOSE" else None
        first, second = orders.get(id(before)), orders.get(id(op))
        if before is not None and first and second and _undo(first, second):
            start = _through(direct, before.inputs[0])
            path = (*start.quantizers, *inputs[0].quantizers)
            direct[op.outputs[0]] = Edge(start.tensor, path)
    outputs = tuple(_through(direct, edge) for edge in graph.outputs)
    return attrs.evolve(graph, ops=used(ops, outputs), outputs=outputs)


def _order(graph: FloatGraph, op: Op) -> tuple[int, ...]:
    """Axes of a TRANSPOSE; ``()`` when they are not constant."""
    data = graph.model.buffers[graph.tensor(op.inputs[1].tensor).buffer].data
    values = () if data is None else np.frombuffer(np.asarray(data, np.uint8).tobytes(), "<i4")
    return tuple(int(value) for value in values)


def _undo(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    return len(first) == len(second) and all(
        first[axis] == index for index, axis in enumerate(second)
    )


def _through(direct: Mapping[int, Edge], edge: Edge) -> Edge:
    known = direct.get(edge.tensor)
    if known is None:
        return edge
    return Edge(known.tensor, (*known.quantizers, *edge.quantizers))


def used(ops: Sequence[Op], outputs: Sequence[Edge]) -> tuple[Op, ...]:
    """Those of `ops` that `outputs` need."""
    needed = {edge.tensor for edge in outputs}
    kept: list[Op] = []
    for op in reversed(ops):
        if needed.intersection(op.outputs):
            kept.append(op)
            needed.update(edge.tensor for edge in op.inputs)
    return tuple(reversed(kept))
