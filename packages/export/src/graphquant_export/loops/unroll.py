"""Writes the loops of a graph out, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import attrs
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor, tensor_name
from graphquant_core.graph.frozen.node_def import node_def
from graphquant_export.loops.loop import Loop
from graphquant_export.loops.numbers import Numbers
from graphquant_export.loops.piece import piece_of
from graphquant_export.loops.scope import Scope
from graphquant_export.loops.units import Unit, inputs_of, outputs_of, units_of
from graphquant_export.loops.values import OpenLoopError
from graphquant_export.loops.write import write


@attrs.frozen
class Unrolled:
    """A graph whose loops were written out.

    Attributes:
        graph_def: The graph.
        done: Names of the loops that are no more.
        open: Why each other loop is still there, by its name, and its type.
    """

    graph_def: tf.compat.v1.GraphDef = attrs.field(repr=False)
    done: tuple[str, ...]
    open: dict[str, tuple[str, str]]


def unroll(graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]) -> Unrolled:
    """`graph_def` without those loops whose steps can be told from constants and shapes.

    Args:
        graph_def: A frozen graph without control edges.
        outputs: Names of its outputs.

    Raises:
        OpenLoopError: A loop that stays takes a list of one that doesn't.
    """
    functions = {body.signature.name: body for body in graph_def.library.function}
    piece = piece_of(graph_def, (), [f"{name}:0" for name in outputs], functions)
    done: list[str] = []
    still_open: dict[str, tuple[str, str]] = {}
    with ExitStack() as stack:
        editor, data = GraphDefEditor(graph_def), piece.changing(())
        scope = Scope(editor, piece, None, {}, Numbers(stack), {}, data)
        for unit in units_of(piece):
            reason = _write_if_static(scope, unit)
            if isinstance(unit, Loop):
                done += [unit.name] if reason is None else []
                still_open |= {} if reason is None else {unit.name: (unit.op_type, reason)}
        for name, result in zip(outputs, piece.results, strict=True):
            if (found := scope.tensor(result)) != name:
                editor.replace(node_def(name, "Identity", [found], T=result.dtype))
    return Unrolled(editor.graph_def(outputs), tuple(done), still_open)


def _write_if_static(scope: Scope, unit: Unit) -> str | None:
    """Writes `unit`; why it was left as it is, if it was.

    Raises:
        OpenLoopError: It can't be left either.
    """
    try:
        write(scope, unit)
    except OpenLoopError as error:
        _leave(scope, unit)
        return str(error)
    return None


def _leave(scope: Scope, unit: Unit) -> None:
    """Leaves `unit` in its place, with what its inputs are now.

    Raises:
        OpenLoopError: It takes a list of a loop that was written out.
    """
    if isinstance(unit, Loop):
        entries = unit.entries
    else:
        entries = tuple((unit.name, port) for port in range(len(unit.inputs)))
    for (name, port), tensor in zip(entries, inputs_of(unit), strict=True):
        scope.editor.set_input(name, port, scope.tensor(tensor))
    for tensor in outputs_of(unit):
        scope.values[tensor.name] = tensor_name(tensor.name)
