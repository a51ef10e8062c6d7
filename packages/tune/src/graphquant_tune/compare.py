"""A model with other weights beside its float self: what sensitivity is measured with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.distillation import check_answers, describe_outputs
from graphquant_core.graph.frozen import cpu_session
from graphquant_tune.folded import FoldedModel
from graphquant_tune.quality import COMPARED_SAMPLES, Measures, Quality, mean_distance
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
        NonFiniteError: It answers NaN or infinity; names the output.
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
        self._samples, self._teacher = samples, teacher
        self._answers = []
        for feeds in samples.batches(COMPARED_SAMPLES):
            self._answers.append(self._session.run(compared, feeds))
            check_answers(outputs, self._answers[-1])

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def distance(self, changed: Values) -> float:
        """Mean distance of the outputs when the constants called so have these values."""
        return mean_distance(self._run(self._measures.distances, changed))

    def quality(self, changed: Values) -> Quality:
        """The same, with what people measure by."""
        return self._measures.quality(self._run(self._measures.fetched, changed))

    def _run(self, wanted: Any, changed: Values) -> list[Any]:
        """`wanted` of each batch; the samples are read anew, the float answers are kept."""
        weights = {self._fed[name]: value for name, value in changed.items()}
        found = []
        batches = self._samples.batches(COMPARED_SAMPLES)
        for feeds, values in zip(batches, self._answers, strict=True):
            answers = dict(zip(self._teacher, values, strict=True))
            found.append(self._session.run(wanted, {**feeds, **weights, **answers}))
        return found
