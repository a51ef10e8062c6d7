"""Feeds in batches, so that memory stays bounded however many samples there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.arguments import checked_integer
from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.frozen import tensor_name
from graphquant_export.inputs.feeds import checked_feeds

Array = npt.NDArray[Any]


@attrs.frozen(eq=False)
class Batch:
    """A part of the feeds.

    Attributes:
        feeds: By tensor name (``"x:0"``), checked.
        size: Number of samples.
    """

    feeds: Mapping[str, Array]
    size: int

    def by_op(self) -> dict[str, Array]:
        """The feeds by the name of the placeholder."""
        return {tensor_name(name): value for name, value in self.feeds.items()}


VALUES_OF_A_BATCH, LARGEST_BATCH = 2**20, 256


def make_batches(
    graph: tf.Graph,
    feeds: Mapping[str, npt.ArrayLike],
    size: int | None = None,
    argument: str = "feeds",
) -> list[Batch]:
    """`feeds` in parts of `size` samples; views where the types are the placeholders' own.

    Placeholders whose first dimension is open are split along it. When none is, but the values
    are several times as long as the placeholders say, the parts are what the placeholders say.

    Args:
        graph: The frozen graph.
        feeds: A value for each placeholder, by name.
        size: Samples of a part; by default as many as have about a million values, at most 256.
        argument: What the caller calls `feeds`.

    Raises:
        ConfigError: `size` is less than 1.
        ConfigError, RangeError, NonFiniteError: as `checked_feeds`.
    """
    size = None if size is None else checked_integer("batch_size", size, 1)
    if not isinstance(feeds, Mapping):
        raise ConfigError(
            f"{argument} ({type(feeds).__name__}) must map names of placeholders to arrays"
        )
    arrays = {tensor_name(str(name)): np.asarray(value) for name, value in feeds.items()}
    split, size = _split_names(graph, arrays, size)
    if not split:
        lengths = [len(value) for value in arrays.values() if value.ndim]
        return [Batch(checked_feeds(graph, arrays, argument), max(lengths, default=1))]
    total = len(arrays[split[0]])
    if size is None:
        values = sum(arrays[name].size for name in split) // max(total, 1)
        size = min(max(VALUES_OF_A_BATCH // max(values, 1), 1), LARGEST_BATCH)
    batches = []
    for start in range(0, total, size):
        part = {
            name: value[start : start + size] if name in split else value
            for name, value in arrays.items()
        }
        batches.append(Batch(checked_feeds(graph, part, argument), min(size, total - start)))
    return batches


def _split_names(
    graph: tf.Graph, arrays: Mapping[str, Array], size: int | None
) -> tuple[list[str], int | None]:
    """Names of the placeholders that are split, and into parts of how many samples."""
    shapes = {
        op.name: op.outputs[0].shape
        for op in graph.get_operations()
        if op.type.startswith("Placeholder")
    }
    ranked = {
        name: value
        for name, value in arrays.items()
        if value.ndim and name in shapes and shapes[name].rank != 0
    }
    open_ended = [name for name in ranked if shapes[name].rank is None or shapes[name][0] is None]
    if open_ended:
        lengths = {len(ranked[name]) for name in open_ended}
        return (open_ended, size) if len(lengths) == 1 and lengths != {0} else ([], size)
    longer = [name for name, value in ranked.items() if len(value) != shapes[name][0]]
    fixed = {int(shapes[name][0]) for name in longer}
    lengths = {len(ranked[name]) for name in longer}
    if len(fixed) == len(lengths) == 1:
        part, length = fixed.pop(), lengths.pop()
        if part and length and length % part == 0:
            return longer, part
    return [], size
