"""Samples of a model's inputs, of which only a batch is in memory.

They are always taken in a random order: files are often sorted by class, and a batch of one class,
or the first thousand samples, would say little of the others.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.frozen import tensor_name
from graphquant_core.listing import listed
from graphquant_export.inputs.batches import make_batches
from graphquant_export.inputs.feeds import checked_feeds

Array = npt.NDArray[Any]
FEWEST = 8
"""Samples below which nothing can be learned from them."""

FEWEST_JUDGES, MOST_JUDGES = 16, 1024
"""Samples that are kept from training, to judge by: at least, or none, and at most."""

LOOKED_AT = 256
"""Samples that are looked at to see whether they differ."""


class Feeds(dict[str, Array]):
    """Feeds by tensor name.

    Attributes:
        rows: The samples that they are of, by their numbers in the arrays, int64 ``[n]``.
    """

    def __init__(self, feeds: Mapping[str, Array], rows: npt.NDArray[np.int64]) -> None:
        super().__init__(feeds)
        self.rows = rows


class Samples:
    """Samples of a model's inputs; arrays that are mapped from a file are read by the batch.

    Args:
        graph: The frozen graph.
        arrays: A value for each placeholder, by name; what has a first dimension that is open is
            split along it, all else is fed as it is.
        batch_size: Samples of a batch; the placeholders' own number where that is fixed.

    Raises:
        ConfigError: There are fewer than 8, or not as many of each input.
        ConfigError, RangeError, NonFiniteError: as `checked_feeds`, of every sample.
    """

    def __init__(
        self, graph: tf.Graph, arrays: Mapping[str, npt.ArrayLike], batch_size: int = 64
    ) -> None:
        if not isinstance(arrays, Mapping):
            raise ConfigError(
                f"samples ({type(arrays).__name__}) must map names of placeholders to arrays"
            )
        self._graph = graph
        self._arrays = {tensor_name(str(name)): _array(value) for name, value in arrays.items()}
        batches = make_batches(graph, self._arrays, batch_size, "samples")
        self.count = batches.total
        if self.count < FEWEST:
            raise ConfigError(
                f"samples ({self.count}) are too few: give at least {FEWEST}, better a thousand"
            )
        self.batch_size = batches[0].size
        self.order = np.random.default_rng(0).permutation(self.count)
        self._split = [
            name
            for name, value in self._arrays.items()
            if value.ndim and len(value) == self.count and self._is_batched(name)
        ]

    def parted(self) -> tuple[Samples, Samples]:
        """(what is learned from, an eighth that isn't seen before it is judged by).

        Twice the same where samples, or batches of a model of a fixed size, are too few to part.
        """
        judges = min(self.count // 8, MOST_JUDGES)
        if self._is_fixed:
            judges -= judges % self.batch_size
        if judges < FEWEST_JUDGES:
            return self, self
        return self._with(self.order[judges:]), self._with(self.order[:judges])

    def batches(self, most: int | None = None) -> Iterator[Feeds]:
        """Feeds by tensor name, the same in each call; `most` of the samples, or all of them.

        A last part that is smaller than the others is left out unless it is the only one.
        """
        end = self.count if most is None else min(most, self.count)
        size = min(self.batch_size, end)
        for start in range(0, end - size + 1, size):
            yield self._feeds(np.sort(self.order[start : start + size]))

    def some(self, most: int) -> dict[str, Array]:
        """`most` samples of each input, or all of them, by its name: the same in each call."""
        return self._part(np.sort(self.order[:most]))

    def at_random(self, seed: int) -> Iterator[Feeds]:
        """Feeds by tensor name without end: all samples in one random order after another."""
        random = np.random.default_rng(seed)
        size = min(self.batch_size, self.count)
        while True:
            order = self.order[random.permutation(self.count)]
            for start in range(0, self.count - size + 1, size):
                yield self._feeds(np.sort(order[start : start + size]))

    def check_varied(self) -> None:
        """Returns when the samples of at least one input differ.

        Raises:
            ConfigError: All samples are alike.
        """
        arrays = self.some(LOOKED_AT)
        batched = [arrays[name] for name in self._split]
        if batched and all((value == value[:1]).all() for value in batched):
            raise ConfigError(
                f"samples ({listed(arrays)}) are all alike: nothing can be learned from them"
            )

    def _with(self, order: npt.NDArray[np.int64]) -> Samples:
        other = copy.copy(self)
        other.order, other.count = order, len(order)
        return other

    @property
    def _is_fixed(self) -> bool:
        """Whether the model takes batches of one size."""
        shapes = [self._graph.get_operation_by_name(name).outputs[0].shape for name in self._split]
        return any(shape.rank and shape[0] is not None for shape in shapes)

    def _feeds(self, rows: npt.NDArray[np.int64]) -> Feeds:
        return Feeds(checked_feeds(self._graph, self._part(rows), "samples"), rows)

    def _part(self, rows: npt.NDArray[np.int64]) -> dict[str, Array]:
        return {
            name: value[rows] if name in self._split else value
            for name, value in self._arrays.items()
        }

    def _is_batched(self, name: str) -> bool:
        shape = self._graph.get_operation_by_name(name).outputs[0].shape
        return shape.rank is None or (shape.rank > 0 and shape[0] in (None, self.batch_size))


def _array(value: npt.ArrayLike) -> Array:
    return value if isinstance(value, np.ndarray) else np.asarray(value)
