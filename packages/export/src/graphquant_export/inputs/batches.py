"""Feeds in batches, so that memory stays bounded however many samples there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.arguments import checked_integer
from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.frozen import tensor_name
from graphquant_export.inputs.feeds import checked_values, placeholders

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


class Batches(Sequence[Batch]):
    """Feeds in parts, each of which is made when it is taken: only that one is in memory.

    Args:
        graph: The frozen graph.
        arrays: A value for each placeholder, by its name.
        split: Names of those that are split along their first axis.
        size: Samples of a part.
        argument: What the caller calls the feeds.
    """

    def __init__(
        self,
        graph: tf.Graph,
        arrays: Mapping[str, Array],
        split: Sequence[str],
        size: int,
        argument: str,
    ) -> None:
        # Now, since callers add placeholders of their own to the graph.
        self._placeholders = placeholders(graph)
        self._arrays, self._argument = arrays, argument
        self._split, self._size = frozenset(split), size
        lengths = [
            len(value)
            for name, value in arrays.items()
            if (name in self._split or not split) and value.ndim
        ]
        self.total = max(lengths, default=1)
        """Samples of all parts."""

    def __len__(self) -> int:
        return -(-self.total // self._size) if self._split else 1

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        start = range(len(self))[index] * self._size
        part = {
            name: value[start : start + self._size] if name in self._split else value
            for name, value in self._arrays.items()
        }
        count = min(self._size, self.total - start) if self._split else self.total
        return Batch(checked_values(self._placeholders, part, self._argument), count)


VALUES_OF_A_BATCH, LARGEST_BATCH = 2**20, 256


def make_batches(
    graph: tf.Graph,
    feeds: Mapping[str, npt.ArrayLike],
    size: int | None = None,
    argument: str = "feeds",
) -> Batches:
    """`feeds` in parts of `size` samples, all of them checked.

    Placeholders whose first dimension is open are split along it. When none is, but the values
    are several times as long as the placeholders say, the parts are what the placeholders say.

    Args:
        graph: The frozen graph.
        feeds: A value for each placeholder, by name; an array that is mapped stays in its file.
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
    if size is None:
        total = max((len(arrays[name]) for name in split), default=1)
        values = sum(arrays[name].size for name in split) // max(total, 1)
        size = min(max(VALUES_OF_A_BATCH // max(values, 1), 1), LARGEST_BATCH)
    batches = Batches(graph, arrays, split, size, argument)
    for _ in batches:  # Each is checked before the first one runs, and not kept.
        pass
    return batches


def _split_names(
    graph: tf.Graph, arrays: Mapping[str, Array], size: int | None
) -> tuple[list[str], int | None]:
    """Names of the placeholders that are split, and into parts of how many samples."""
    shapes = {name: op.outputs[0].shape for name, op in placeholders(graph).items()}
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
