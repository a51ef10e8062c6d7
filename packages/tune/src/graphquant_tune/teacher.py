"""The float model, whose answers are learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.distillation import describe_outputs
from graphquant_core.graph.frozen import cpu_session, import_frozen
from graphquant_tune.folded import FoldedModel

Feeds = Mapping[Any, Any]


class Teacher:
    """Runs the float model in a session of its own, so that no layer of it is quantised.

    Use it as a context, which holds the session.

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

    def __enter__(self) -> Teacher:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def with_answers(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Feeds:
        """`feeds`, and the answers to them."""
        found = self._session.run(self._compared, feeds)
        return {**feeds, **dict(zip(self._answers, found, strict=True))}
