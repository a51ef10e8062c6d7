"""The last element of what create_quant_retrain_model returns."""

from __future__ import annotations

import tensorflow as tf


class RetrainOp:
    """Writes the record when a session runs it.

    ``sess.run(retrain_op)``, ``sess.run(retrain_op.output_tensor)`` and
    ``sess.run(retrain_op.name)`` do the same.

    Attributes:
        output_tensor: string []: the record, once it is on the disk.
    """

    # Not an attrs class: a session takes those apart and runs their fields one by one.
    def __init__(self, output_tensor: tf.Tensor) -> None:
        self.output_tensor = output_tensor

    def __repr__(self) -> str:
        return f"RetrainOp({self.name!r})"

    @property
    def name(self) -> str:
        """Name of the tensor, with ``:0``; without it, it is the name of the op."""
        return str(self.output_tensor.name)

    @property
    def op(self) -> tf.Operation:
        """The op of `output_tensor`."""
        return self.output_tensor.op

    @property
    def graph(self) -> tf.Graph:
        """The rewritten graph."""
        return self.output_tensor.graph

    def _as_graph_element(self) -> tf.Tensor:
        # What tf.Session.run asks of an object that is neither tensor nor name.
        return self.output_tensor
