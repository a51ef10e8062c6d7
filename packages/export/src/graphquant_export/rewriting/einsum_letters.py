"""What the letters of an Einsum of two operands say."""

from __future__ import annotations

import attrs
import tensorflow as tf

_OPERANDS = 2


@attrs.frozen
class Letters:
    """The letters of each operand and of the result, in their order."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    result: tuple[str, ...]

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """(those in all three, in the left alone, in the right alone, those that are summed)."""
        kept = [name for name in self.left if name in self.result]
        return (
            tuple(name for name in kept if name in self.right),
            tuple(name for name in kept if name not in self.right),
            tuple(name for name in self.right if name not in self.left),
            tuple(name for name in self.left if name not in self.result),
        )


def letters_of(op: tf.Operation) -> Letters | None:
    """The letters of the Einsum `op`; ``None`` when it is no product of matrices.

    That it isn't with another number of operands, an ellipsis, a letter twice in an operand, one
    that is summed in one operand alone, or an operand of unknown rank.
    """
    equation = op.get_attr("equation").decode().replace(" ", "")
    taken, arrow, given = equation.partition("->")
    operands = taken.split(",")
    if len(operands) != _OPERANDS or not arrow or "." in equation:
        return None
    letters = Letters(*(tuple(part) for part in (*operands, given)))
    for part in (letters.left, letters.right, letters.result):
        if len(set(part)) < len(part):
            return None
    alone = set(letters.left) ^ set(letters.right)
    ranks = [x.shape.rank for x in op.inputs]
    if alone - set(letters.result) or ranks != [len(letters.left), len(letters.right)]:
        return None
    return letters
