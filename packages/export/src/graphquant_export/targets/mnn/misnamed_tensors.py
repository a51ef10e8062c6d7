"""Tensors of an .mnn file whose name is that of an op which returns something else.

MNN's converter moves what it computes element by element, such as an activation function, to the
front of the Reshapes behind a MatMul, and leaves the names of the tensors where they were:

    MatMul -> "y", Reshape "shape" -> "shape", Neg "out" -> "out"   becomes
    MatMul -> "y", Neg "out" -> "shape", Reshape "shape" -> "out"

An op that was overtaken comes after the tensor of its name. That tensor is misnamed, and so is what
the op takes; the last tensor of such a row has its own name again.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

AS_FLOAT = "as_float"
"""End of the names of ops that return the values that they take; a number may follow."""


@attrs.frozen
class NamedOp:
    """An op of an .mnn file.

    Attributes:
        name: Its name.
        source: Name of its first input, if it has one.
        outputs: Names of its outputs.
        merged: Whether an activation function is merged into it.
    """

    name: str
    source: str | None
    outputs: tuple[str, ...]
    merged: bool = False


def misnamed_tensors(ops: Sequence[NamedOp]) -> dict[str, str | None]:
    """Name of each misnamed tensor: name of the op that returns what it holds, if one does.

    Args:
        ops: The ops of a file, in their order.
    """
    made = {output: place for place, op in enumerate(ops) for output in op.outputs}
    overtaken = {place for place, op in enumerate(ops) if made.get(op.name, place) < place}
    names = {name for place in overtaken for name in (ops[place].name, ops[place].source) if name}

    def computed(name: str) -> str | None:
        place = made[name]
        while ops[place].source in made and (place in overtaken or _copies(ops[place].name)):
            place = made[str(ops[place].source)]
        return None if ops[place].merged else ops[place].name

    return {name: computed(name) for name in names if name in made}


def _copies(name: str) -> bool:
    return name.rstrip("0123456789_").endswith(AS_FLOAT)
