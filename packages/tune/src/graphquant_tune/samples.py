"""Samples of a model's inputs, in order or at random, of which only a batch is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.frozen import tensor_name
from graphquant_export.inputs.batches import make_batches
from graphquant_export.inputs.feeds import checked_feeds

Array = npt.NDArray[Any]
FEWEST = 8
"""Samples below which nothing can be learned from them."""


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
        self.count = sum(batch.size for batch in batches)
        if self.count < FEWEST:
            raise ConfigError(f"samples ({self.count}) are too few: give at least {FEWEST}, or 500")
        self.batch_size = batches[0].size
        self._split = [
            name
            for name, value in self._arrays.items()
            if value.ndim and len(value) == self.count and self._is_batched(name)
        ]

    def batches(self, most: int | None = None) -> Iterator[dict[str, Array]]:
        """Feeds by tensor name, in order; the first `most` samples, or all of them.

        A last part that is smaller than the others is left out unless it is the only one.
        """
        end = self.count if most is None else min(most, self.count)
        size = min(self.batch_size, end)
        for start in range(0, end - size + 1, size):
            yield self._feeds(np.arange(start, start + size))

    def first(self, most: int) -> dict[str, Array]:
        """The first `most` samples of each input, by its name."""
        return {
            name: value[: min(most, self.count)] if name in self._split else value
            for name, value in self._arrays.items()
        }

    def at_random(self, seed: int) -> Iterator[dict[str, Array]]:
        """Feeds by tensor name without end: all samples in one random order after another."""
        random = np.random.default_rng(seed)
        size = min(self.batch_size, self.count)
        while True:
            order = random.permutation(self.count)
            for start in range(0, self.count - size + 1, size):
                yield self._feeds(np.sort(order[start : start + size]))

    def _feeds(self, rows: npt.NDArray[np.int64]) -> dict[str, Array]:
        part = {
            name: value[rows] if name in self._split else value
            for name, value in self._arrays.items()
        }
        return checked_feeds(self._graph, part, "samples")

    def _is_batched(self, name: str) -> bool:
        shape = self._graph.get_operation_by_name(name).outputs[0].shape
        return shape.rank is None or (shape.rank > 0 and shape[0] in (None, self.batch_size))


def _array(value: npt.ArrayLike) -> Array:
    return value if isinstance(value, np.ndarray) else np.asarray(value)
