"""Runs of samples through a frozen graph some of whose constants are replaced, in one session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph.frozen import cpu_session
from graphquant_export.inputs.batches import Batch
from graphquant_export.inputs.brief import brief

Array = npt.NDArray[Any]

KEPT_BYTES = 2**28
"""What is kept of values between layers, so that the layers before them needn't run again."""


class SampleRuns:
    """Batches of samples through `graph`, until `close`.

    Args:
        graph: The frozen graph, complete.
        batches: The samples.

    Attributes:
        constants: Values that constants have instead of their own, by tensor name.
    """

    def __init__(self, graph: tf.Graph, batches: Sequence[Batch]) -> None:
        self.constants: dict[str, Array] = {}
        self._batches = batches
        self._kept: dict[tuple[str, int], Array] = {}
        self._session = cpu_session(graph, rewritten=False)

    def close(self) -> None:
        """Closes the session."""
        self._session.close()

    def run(self, tensors: Any, fed: Mapping[Any, Array] | None = None) -> Iterator[Any]:
        """The values of `tensors` on each batch, one batch after the other.

        Raises:
            ModelFileError: TensorFlow cannot run the model on the samples.
        """
        for number in range(len(self._batches)):
            yield self._run(number, tensors, fed or {})

    def run_first(self, tensors: Any) -> Any:
        """The values of `tensors` on the first batch."""
        return self._run(0, tensors, {})

    def keep(self, tensor: str) -> None:
        """Keep the values of `tensor`, as far as there is room: what it depends on is settled."""
        for number in range(len(self._batches)):
            if (tensor, number) in self._kept:
                continue
            value = self._run(number, tensor, {})
            others = [key for key in self._kept if key[0] != tensor]
            while others and self._kept_bytes() + value.nbytes > KEPT_BYTES:
                del self._kept[others.pop(0)]
            if self._kept_bytes() + value.nbytes > KEPT_BYTES:
                return
            self._kept[tensor, number] = value

    def _kept_bytes(self) -> int:
        return sum(value.nbytes for value in self._kept.values())

    def _run(self, number: int, tensors: Any, fed: Mapping[Any, Array]) -> Any:
        kept = {name: value for (name, batch), value in self._kept.items() if batch == number}
        batch = self._batches[number]
        try:
            return self._session.run(tensors, {**batch.feeds, **self.constants, **kept, **fed})
        except tf.errors.OpError as error:
            raise ModelFileError(
                f"samples: TensorFlow cannot run the model on them: {brief(error)}"
            ) from error
