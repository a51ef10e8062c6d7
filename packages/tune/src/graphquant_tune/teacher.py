"""The float model, whose answers are learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.distillation import describe_outputs
from graphquant_core.graph.frozen import cpu_session, import_frozen
from graphquant_tune.folded import FoldedModel
from graphquant_tune.samples import Feeds

MOST_KEPT = 2**26
"""Bytes of answers that are kept."""


class Teacher:
    """Runs the float model in a session of its own, so that no layer of it is quantised.

    Use it as a context, which holds the session. What it answers to a sample is kept, so that it
    answers once and not in each pass over the samples.

    Args:
        model: The float model.
        answers: Placeholders of the answers, one for each output that is compared.
    """

    def __init__(self, model: FoldedModel, answers: Sequence[tf.Tensor]) -> None:
        graph = import_frozen(model.graph_def)
        outputs = describe_outputs(graph, model.outputs)
        self._compared = [graph.get_tensor_by_name(output.compared) for output in outputs]
        self._answers = answers
        self._session = cpu_session(graph)
        self._kept: dict[int, list[npt.NDArray[Any]]] = {}
        self._bytes = 0

    def __enter__(self) -> Teacher:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def with_answers(self, feeds: Feeds) -> dict[Any, Any]:
        """`feeds`, and the answers to them."""
        rows = feeds.rows.tolist()
        if all(row in self._kept for row in rows):
            parts = zip(*(self._kept[row] for row in rows), strict=True)
            found = [np.stack(part) for part in parts]
        else:
            found = self._session.run(self._compared, feeds)
            self._keep(rows, found)
        return {**feeds, **dict(zip(self._answers, found, strict=True))}

    def _keep(self, rows: Sequence[int], found: Sequence[npt.NDArray[Any]]) -> None:
        """Keeps answers that have a row for each sample, as long as there is room."""
        size = sum(answer.nbytes for answer in found)
        each = all(answer.ndim and len(answer) == len(rows) for answer in found)
        if each and self._bytes + size <= MOST_KEPT:
            self._kept |= {row: [answer[i] for answer in found] for i, row in enumerate(rows)}
            self._bytes += size
