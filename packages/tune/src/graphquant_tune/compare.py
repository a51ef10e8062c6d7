"""A model with other weights beside its float self: what sensitivity is measured with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.distillation import describe_outputs
from graphquant_core.graph.frozen import cpu_session
from graphquant_tune.folded import FoldedModel
from graphquant_tune.quality import COMPARED_SAMPLES, Measures, Quality
from graphquant_tune.samples import Samples

v1 = tf.compat.v1
Float32Array = npt.NDArray[np.float32]
Values = Mapping[str, Float32Array]


class Comparison:
    """Runs `model` with changed weights; the float answers are computed once.

    Use it as a context, which holds a session.

    Args:
        model: The float model.
        samples: Samples of its inputs; the first 1,024 are run.

    Raises:
        ConfigError: The model has no output of floats.
    """

    def __init__(self, model: FoldedModel, samples: Samples) -> None:
        with tf.Graph().as_default() as graph:
            self._fed = {
                name: v1.placeholder_with_default(value, value.shape)
                for name, value in model.values().items()
            }
            given = {f"{name}:0": tensor for name, tensor in self._fed.items()}
            tf.import_graph_def(model.graph_def, given, name="")
            outputs = describe_outputs(graph, model.outputs)
            compared = [graph.get_tensor_by_name(output.compared) for output in outputs]
            teacher = [v1.placeholder(tf.float32, tensor.shape) for tensor in compared]
            self._measures = Measures(outputs, teacher, compared)
        self._session = cpu_session(graph)
        self._batches = []
        for feeds in samples.batches(COMPARED_SAMPLES):
            answers = self._session.run(compared, feeds)
            self._batches.append({**feeds, **dict(zip(teacher, answers, strict=True))})

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def distance(self, changed: Values) -> float:
        """Mean distance of the outputs when the constants called so have these values."""
        feeds, wanted = self._feeds(changed), self._measures.distances
        return float(np.mean([self._session.run(wanted, {**b, **feeds}) for b in self._batches]))

    def quality(self, changed: Values) -> Quality:
        """The same, with what people measure by."""
        feeds, wanted = self._feeds(changed), self._measures.fetched
        return self._measures.quality(
            [self._session.run(wanted, {**batch, **feeds}) for batch in self._batches]
        )

    def _feeds(self, changed: Values) -> dict[tf.Tensor, Float32Array]:
        return {self._fed[name]: value for name, value in changed.items()}
