"""What folded batch norms multiply weight scales by, for all layers of a graph at once."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import tensorflow as tf

from graphquant_core.graph import BatchNorm, GraphView, Scale, affine_tail
from graphquant_core.layer import Layer
from graphquant_core.quantize import FLOAT32_EPSILON


@attrs.frozen(eq=False)
class ScaleVector:
    """Scales of several layers, one after the other.

    Attributes:
        values: float32 [N].
        counts: How many of them each layer has.
    """

    values: tf.Tensor
    counts: tuple[int, ...]


def folded_scales(
    view: GraphView, layers: Sequence[Layer], scales: Sequence[tf.Tensor]
) -> ScaleVector:
    """scale * prod |k|, k = gamma / sqrt(variance + epsilon) of every factor that folds.

    Args:
        view: View of the graph, made after the rewrite.
        layers: The layers.
        scales: float32 scale of the unfolded weight of each, [] or [C].

    A batch norm in training mode doesn't fold and adds no factor. A layer with a factor per
    channel has C scales in the result, one with a single scale and no such factor has one.
    Scales that a dead factor would turn to nothing become 1.0. All layers together take a few
    ops: their vectors are concatenated, and NumPy says which number belongs where.
    """
    factors = [_factors(view, layer) for layer in layers]
    counts = tuple(
        max([_size(scale), *(_size(_vector(step)) for step in steps)])
        for scale, steps in zip(scales, factors, strict=True)
    )
    folded = tf.cast(_spread(list(scales), counts), tf.float64)
    for depth in range(max((len(steps) for steps in factors), default=0)):
        steps = [found[depth] if depth < len(found) else None for found in factors]
        folded = folded * tf.abs(_spread_factors(steps, counts))
    result = tf.cast(folded, tf.float32)
    if any(factors):
        result = tf.where(result < FLOAT32_EPSILON, tf.ones_like(result), result)
    return ScaleVector(result, counts)


def _factors(view: GraphView, layer: Layer) -> list[BatchNorm | Scale]:
    output = view.graph.get_operation_by_name(layer.name).outputs[0]
    tail = affine_tail(view, output, layer.output_channel_axis, layer.output_channels or 0)
    return [step for step in tail if isinstance(step, (BatchNorm, Scale))]


def _vector(step: BatchNorm | Scale) -> tf.Tensor:
    return step.gamma if isinstance(step, BatchNorm) else step.value


def _size(tensor: tf.Tensor) -> int:
    return int(tensor.shape.num_elements())


def _spread_factors(steps: Sequence[BatchNorm | Scale | None], counts: Sequence[int]) -> tf.Tensor:
    """float64 [N]: one factor of each layer, 1 where a layer has none."""
    one = tf.constant(1.0)
    numerators = [one if step is None else _vector(step) for step in steps]
    variances = [step.variance if isinstance(step, BatchNorm) else one for step in steps]
    epsilons = [step.epsilon if isinstance(step, BatchNorm) else 0.0 for step in steps]
    epsilon = tf.constant(np.repeat(epsilons, counts))
    variance = tf.cast(_spread(variances, counts), tf.float64)
    return tf.cast(_spread(numerators, counts), tf.float64) / tf.sqrt(variance + epsilon)


def _spread(tensors: list[tf.Tensor], counts: Sequence[int]) -> tf.Tensor:
    """[N]: the numbers of `tensors`, those of size 1 repeated up to their count."""
    sizes = [_size(tensor) for tensor in tensors]
    flat = [tensor if tensor.shape.rank == 1 else tf.reshape(tensor, [-1]) for tensor in tensors]
    starts = np.cumsum([0, *sizes[:-1]])
    indices = [
        start + (np.arange(count) if size == count else np.zeros(count, int))
        for start, size, count in zip(starts, sizes, counts, strict=True)
    ]
    joined = tf.concat(flat, 0)
    if sizes == list(counts):
        return joined
    return tf.gather(joined, np.concatenate(indices))
