"""A while loop, whichever of its two forms a graph has it in."""

from __future__ import annotations

import attrs
import tensorflow as tf

from graphquant_export.loops.piece import Piece


@attrs.frozen(eq=False)
class Loop:
    """A while loop: values that a body changes as long as a condition of them holds.

    Attributes:
        name: Its name: that of a While op, or the scope of the ops of a loop of TensorFlow 1.
        op_type: ``"While"``, ``"StatelessWhile"`` or ``"Enter"``.
        entries: (name of an op, its input index) where each value enters the loop.
        starts: The values before the first step: tensors of the graph that the loop stands in.
        condition: Of the values, whether there is another step; its first result alone counts.
        body: From the values to those of the next step.
        exits: Tensors of the graph that are the values after the last step; ``None`` for one that
            nothing takes.
    """

    name: str
    op_type: str
    entries: tuple[tuple[str, int], ...]
    starts: tuple[tf.Tensor, ...]
    condition: Piece
    body: Piece
    exits: tuple[tf.Tensor | None, ...]

    def invariant(self, index: int) -> bool:
        """Whether the body hands the value `index` on as it is."""
        tensor = self.body.results[index]
        while tensor.op.type == "Identity":
            tensor = tensor.op.inputs[0]
        return tensor is self.body.arguments[index]
