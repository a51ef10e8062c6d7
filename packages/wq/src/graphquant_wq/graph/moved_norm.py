"""The batch norm behind a layer, its factor moved into the weight before MNN sees either.

MNN's converter multiplies weight and factor in float32 and derives each grid from the products.
What that rounds off is common to a whole group, so that it adds up over the group's weights.
Behind a weight that was multiplied already the batch norm has the factor 1, and MNN stores the
very numbers that the frozen graph holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph import BatchNorm, GraphView, PassThrough, Rewrite, affine_tail
from graphquant_core.graph.frozen.fold_batch_norm import folds
from graphquant_core.layer import Layer

v1 = tf.compat.v1

Float32Array = npt.NDArray[np.float32]


def norm_behind(view: GraphView, layer: Layer) -> BatchNorm | None:
    """The fused batch norm in inference mode right behind `layer` whose factor can be moved."""
    output = view.graph.get_operation_by_name(layer.name).outputs[0]
    tail = affine_tail(view, output, layer.output_channel_axis, layer.output_channels or 0)
    step = next((step for step in tail if not isinstance(step, PassThrough)), None)
    if not isinstance(step, BatchNorm) or step.op.inputs[0].dtype != tf.float32:
        return None
    if any(view.consumers(statistic) for statistic in step.op.outputs[1:]):
        return None
    return step if _variance(step.epsilon) + np.float32(step.epsilon) == 1 else None


def _variance(epsilon: float) -> np.float32:
    """The variance for which 1 / sqrt(variance + epsilon) is 1."""
    return np.float32(1) - np.float32(epsilon)


@attrs.frozen(eq=False)
class MovedNorm:
    """What becomes of a batch norm whose factor moved into the weight: y = x + bias.

    Attributes:
        norm: The batch norm.
        factor: What the weight is multiplied by, float32 ``[out]``.
        bias: float32 ``[out]``.
    """

    norm: BatchNorm
    factor: Float32Array
    bias: Float32Array

    def connect(self, rewrite: Rewrite) -> None:
        """Lets the batch norm take constants with a factor of 1."""
        ones = np.ones_like(self.bias)
        variance = ones * _variance(self.norm.epsilon)
        names = ("gamma", "beta", "mean", "variance")
        values = (ones, self.bias, np.zeros_like(ones), variance)
        with rewrite.beside(self.norm.op), v1.name_scope(f"{self.norm.op.name}/on_grid"):
            for port, (name, value) in enumerate(zip(names, values, strict=True), start=1):
                rewrite.redirect(self.norm.op, port, tf.constant(value, name=name))


def moved(norm: BatchNorm, values: Mapping[str, npt.NDArray[Any]], channels: int) -> MovedNorm:
    """`norm` with the `values` that its inputs have, by name; factor and bias go by float64.

    Raises:
        NonFiniteError: A factor or a bias is NaN or infinite; names the op.
    """
    fold = folds((norm,), values, channels)[1]
    return MovedNorm(norm, fold.factor.astype(np.float32), fold.bias.astype(np.float32))
