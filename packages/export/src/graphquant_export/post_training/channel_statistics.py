"""What values each channel of a tensor has on the samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import cpu_session
from graphquant_export.inputs.batches import make_batches
from graphquant_export.post_training.samples import run_batch

Float64Array = npt.NDArray[np.float64]


@attrs.frozen(eq=False)
class ChannelStatistics:
    """One tensor, channel by channel; each is float64 ``[C]``.

    Attributes:
        low: The smallest value.
        high: The largest value.
        power: The mean square.
    """

    low: Float64Array
    high: Float64Array
    power: Float64Array

    @property
    def largest(self) -> Float64Array:
        """The largest absolute value."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def divided(self, factors: Float64Array) -> ChannelStatistics:
        """Those of the tensor whose channels are divided by `factors`, all positive."""
        return ChannelStatistics(self.low / factors, self.high / factors, self.power / factors**2)


def channel_statistics(
    graph: tf.Graph,
    tensors: Mapping[str, int],
    calibration: Mapping[str, npt.ArrayLike],
    batch_size: int,
) -> dict[str, ChannelStatistics]:
    """The statistics of `tensors` on `calibration`.

    Args:
        graph: The frozen graph; ops are added to it.
        tensors: Axis of the channels, by the tensor's name.
        calibration: Samples for each placeholder, by its name.
        batch_size: Samples of a batch.

    Raises:
        ConfigError, RangeError: `calibration` doesn't fit the placeholders.
        NonFiniteError: A value of `calibration` is NaN or infinite.
        ModelFileError: TensorFlow cannot run the model on `calibration`.
    """
    batches = make_batches(graph, calibration, batch_size, "calibration")
    with graph.as_default():
        reduced = [_reduced(graph.get_tensor_by_name(name), tensors[name]) for name in tensors]
    found: dict[str, list[Sequence[Float64Array]]] = {name: [] for name in tensors}
    with cpu_session(graph) as session:
        for batch in batches:
            for name, values in zip(tensors, run_batch(session, reduced, batch), strict=True):
                found[name].append([value.astype(np.float64) for value in values])
    return {name: _together(parts) for name, parts in found.items()}


def _reduced(tensor: tf.Tensor, axis: int) -> tuple[tf.Tensor, ...]:
    others = [other for other in range(tensor.shape.rank) if other != axis % tensor.shape.rank]
    count = tf.size(tensor) // tf.shape(tensor)[axis]
    return (
        tf.reduce_min(tensor, others),
        tf.reduce_max(tensor, others),
        tf.reduce_sum(tf.square(tensor), others),
        tf.cast(count, tf.float32),
    )


def _together(parts: Sequence[Sequence[Float64Array]]) -> ChannelStatistics:
    low, high, squares, counts = (np.stack(values) for values in zip(*parts, strict=True))
    return ChannelStatistics(
        low.min(axis=0), high.max(axis=0), squares.sum(axis=0) / max(counts.sum(), 1.0)
    )
