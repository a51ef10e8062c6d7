"""Puts what is added behind a quantised layer on the int32 grid that it is deployed on.

The deployed layer adds round(b / s) * s, s = scale_d * scale_w of the record, where b is all that
bias, batch norm and constants add to a channel. A kernel that sums the zero point z of its result,
too, adds (round(p) - p) * s besides, p = z * scale of the result / s. Half a step of s is a few
thousandths of a step of the result, and yet flips as many thousandths of the next layer's codes by
a whole step.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import attrs
import tensorflow as tf

from graphquant_core.graph import (
    BatchNorm,
    GraphView,
    PassThrough,
    Rewrite,
    Scale,
    Shift,
    affine_tail,
)
from graphquant_core.graph.function_call import call, concrete
from graphquant_core.layer import Layer
from graphquant_core.quantize import FLOAT32_EPSILON
from graphquant_qat.graph import gradients
from graphquant_qat.graph.layer_result import is_normalized

BETA = 2
"""Input of a fused batch norm that is added."""

FoldedStep = BatchNorm | Scale | Shift


@attrs.frozen
class Folding:
    """How a step of a tail changes (factor, bias) of y = x * factor + bias.

    Attributes:
        kind: ``"norm"``, ``"scale"`` or ``"shift"``.
        epsilon: Of a batch norm.
        sign: Of a shift.
    """

    kind: str
    epsilon: float = 0.0
    sign: int = 1


@attrs.frozen
class BiasGrid:
    """On which grid the bias of a layer lies.

    Attributes:
        layer: A layer with a weight.
        scale_d: Name of the scale [] of its activation.
        scale_w: Name of the unfolded scale [] or [C] of its weight.
        scale: Name of the scale [] of its result, where its kernel sums the zero point of it.
        zero_point: Name of that zero point [].
    """

    layer: Layer
    scale_d: str
    scale_w: str
    scale: str | None = None
    zero_point: str | None = None

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of its tensors: two, or four."""
        names = (self.scale_d, self.scale_w, self.scale, self.zero_point)
        return tuple(name for name in names if name is not None)


def round_biases(rewrite: Rewrite, layers: Iterable[BiasGrid]) -> None:
    """Lets the last addition of a vector behind each layer bring the whole sum to the grid.

    No variable changes, and no op is added on activations: one vector for each layer. A batch norm
    in training mode has no fixed sum, so that nothing in front of one is changed. Neither is one
    number that alone is added to every channel: each channel would need another.

    Args:
        rewrite: The open transaction.
        layers: The layers with their grids.
    """
    for grid in layers:
        steps = _folded_steps(rewrite.view, grid.layer)
        channels = grid.layer.output_channels or 0
        vectors = [i for i, step in enumerate(steps) if _adds_vector(step, channels)]
        if vectors:
            last = vectors[-1]
            tensors = [rewrite.graph.get_tensor_by_name(name) for name in grid.tensors]
            _round(rewrite, steps, last, tensors)


def _folded_steps(view: GraphView, layer: Layer) -> list[FoldedStep]:
    """What folds into `layer`, without what only passes values on."""
    output = view.graph.get_operation_by_name(layer.name).outputs[0]
    channels = layer.output_channels or 0
    tail = affine_tail(view, output, layer.output_channel_axis, channels)
    if is_normalized(view, tail[-1].output if tail else output, channels):
        return []
    return [step for step in tail if not isinstance(step, PassThrough)]


def _round(
    rewrite: Rewrite,
    steps: Sequence[FoldedStep],
    last: int,
    scales: Sequence[tf.Tensor],
) -> None:
    step = steps[last]
    value, port = _added(step)
    shape = tuple(int(size) for size in value.shape.as_list())
    function = _on_grid(tuple(map(_folding, steps)), last, shape, len(scales) > 2)
    parameters = [tensor for one in steps for tensor in _parameters(one)]
    with rewrite.beside(step.op), tf.compat.v1.name_scope(f"{step.op.name}_on_grid/"):
        (rounded,) = call(
            function, [value, *scales, *parameters], gradients.ROUNDED_BIAS, "rounded"
        )
    rewrite.redirect(step.op, port, rounded)


def _adds_vector(step: FoldedStep, channels: int) -> bool:
    if isinstance(step, Scale):
        return False
    return isinstance(step, BatchNorm) or int(step.value.shape.num_elements()) == channels


def _added(step: FoldedStep) -> tuple[tf.Tensor, int]:
    """What `step` adds, and at which input."""
    if isinstance(step, BatchNorm):
        return step.beta, BETA
    ports = [port for port, tensor in enumerate(step.op.inputs) if tensor is step.value]
    return step.value, ports[-1]


def _folding(step: FoldedStep) -> Folding:
    if isinstance(step, BatchNorm):
        return Folding("norm", epsilon=step.epsilon)
    return Folding("scale") if isinstance(step, Scale) else Folding("shift", sign=step.sign)


def _parameters(step: FoldedStep) -> list[tf.Tensor]:
    if isinstance(step, BatchNorm):
        return [step.gamma, step.beta, step.mean, step.variance]
    return [step.value]


@functools.cache
def _on_grid(
    foldings: tuple[Folding, ...], last: int, shape: tuple[int, ...], sums_zero_point: bool
) -> tf.types.experimental.ConcreteFunction:
    """(value, scale_d [], scale_w [] or [C], parameters of each step) -> value of `shape`.

    With `sums_zero_point`, scale [] and zero point [] of the result follow scale_w.

    The arithmetic is that of the export: fold in float64, scales in float32, round half to even.
    """
    counts = [4 if folding.kind == "norm" else 1 for folding in foldings]
    any_shape = tf.TensorSpec(None, tf.float32)

    result = [any_shape, tf.TensorSpec([], tf.int32)] if sums_zero_point else []

    @concrete(*[any_shape] * 3, *result, *[any_shape] * sum(counts))
    def function(
        value: tf.Tensor, scale_d: tf.Tensor, scale_w: tf.Tensor, *parameters: tf.Tensor
    ) -> tf.Tensor:
        grid, parameters = parameters[: len(result)], parameters[len(result) :]
        vectors = iter([tf.cast(tf.reshape(p, [-1]), tf.float64) for p in parameters])
        one = tf.constant(1.0, tf.float64)
        factor, bias, behind, scaled = one, one * 0, one, False
        for index, folding in enumerate(foldings):
            if folding.kind == "norm":
                gamma, beta, mean, variance = (next(vectors) for _ in range(4))
                by = gamma / tf.sqrt(variance + folding.epsilon)
                plus = beta - mean * by
            elif folding.kind == "scale":
                by, plus = next(vectors), one * 0
            else:
                by, plus = one, folding.sign * next(vectors)
            factor, bias = factor * by, bias * by + plus
            behind = behind * by if index > last else behind
            scaled = scaled or folding.kind != "shift"
        folded = tf.cast(tf.cast(scale_w, tf.float64) * tf.abs(factor), tf.float32)
        if scaled:
            folded = tf.where(folded < FLOAT32_EPSILON, tf.ones_like(folded), folded)
        step = tf.cast(scale_d * folded, tf.float64)
        rounded = tf.round(bias / step)
        if sums_zero_point:
            zero = tf.cast(grid[0], tf.float64) * tf.cast(grid[1], tf.float64) / step
            rounded += tf.round(zero) - zero
        missing = tf.math.divide_no_nan(rounded * step - bias, behind)
        old = tf.cast(tf.reshape(value, [-1]), tf.float64)
        new = old + foldings[last].sign * missing
        new = tf.where(tf.math.is_finite(new), new, old + tf.zeros_like(new))
        return tf.reshape(tf.cast(new, tf.float32), shape)

    return function
