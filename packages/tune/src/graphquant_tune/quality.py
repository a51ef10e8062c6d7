"""How near a model's answers are to those of the float model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.distillation import LOGITS, SCORES, Output, describe_outputs, distance
from graphquant_core.graph.frozen import cpu_session
from graphquant_tune.samples import Samples

COMPARED_SAMPLES = 1024
"""Samples that a comparison runs on."""


@attrs.frozen
class Quality:
    """How near a model's answers are to those of the float model.

    Attributes:
        distance: Mean over the outputs of `graphquant_core.graph.distillation.distance`; 0 is
            equal, infinity for answers that are NaN or infinite.
        sqnr: 10 log10(Σ t² / Σ (t - s)²) of the worst output, in dB; -infinity for such answers.
        agreement: Share of rows with the same largest class; ``None`` without class scores.
    """

    distance: float
    sqnr: float
    agreement: float | None


class Measures:
    """The tensors that a quality is made of, for pairs of answers in one graph.

    Args:
        outputs: What the outputs are.
        teacher: The float model's answer for each.
        student: The other's.

    Raises:
        ConfigError: There is no output of floats.
    """

    def __init__(
        self, outputs: Sequence[Output], teacher: Sequence[tf.Tensor], student: Sequence[tf.Tensor]
    ) -> None:
        if not outputs:
            raise ConfigError("the model has no output of floats, which could be compared")
        rows = list(zip(outputs, teacher, student, strict=True))
        self.distances = [distance(output, t, s) for output, t, s in rows]
        powers = [
            (tf.reduce_sum(tf.square(t)), tf.reduce_sum(tf.square(t - s))) for _, t, s in rows
        ]
        same = [
            tf.reduce_mean(tf.cast(tf.equal(tf.argmax(t, -1), tf.argmax(s, -1)), tf.float32))
            for output, t, s in rows
            if output.kind in (SCORES, LOGITS)
        ]
        self.fetched = (self.distances, powers, same)

    def quality(self, found: Sequence[Any]) -> Quality:
        """The quality over batches, of what a session gave for `fetched` with each."""
        powers = np.array([row[1] for row in found], np.float64).sum(axis=0)
        ratios = [_decibels(power, error) for power, error in powers.reshape(-1, 2)]
        same = np.mean([row[2] for row in found], axis=0)
        agreement = float(same.min()) if self.fetched[2] else None
        return Quality(mean_distance([row[0] for row in found]), min(ratios), agreement)


def mean_distance(found: Sequence[Any]) -> float:
    """The mean; infinite where a model answers NaN or infinity, so that it is never the nearest.

    A layer in front of a logarithm or a division does that when its small results round to 0.
    """
    mean = float(np.mean(found))
    return mean if math.isfinite(mean) else math.inf


def _decibels(power: float, error: float) -> float:
    """10 log10(power / error); -inf where the answers aren't finite."""
    if not math.isfinite(error):
        return -math.inf
    return math.inf if error == 0 else 10 * math.log10(max(power, 1e-300) / error)


def quality_of(
    model: tf.compat.v1.GraphDef,
    other: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    samples: Samples,
) -> Quality:
    """The quality of `other` beside the float graph `model`, whose ops have the same names."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(model, name="")
        inputs = {
            f"{node.name}:0": graph.get_tensor_by_name(f"{node.name}:0")
            for node in other.node
            if node.op.startswith("Placeholder")
        }
        tf.import_graph_def(other, inputs, name="other")
        described = describe_outputs(graph, outputs)
        teacher = [graph.get_tensor_by_name(output.compared) for output in described]
        student = [_compared(graph, output) for output in described]
        measures = Measures(described, teacher, student)
    with cpu_session(graph) as session:
        feeds = samples.batches(COMPARED_SAMPLES)
        return measures.quality([session.run(measures.fetched, batch) for batch in feeds])


def _compared(graph: tf.Graph, output: Output) -> tf.Tensor:
    """What `other` gives for `output`: there, too, what its softmax takes, whatever its name is."""
    name = f"other/{output.name}"
    (found,) = describe_outputs(graph, [name])
    return graph.get_tensor_by_name(found.compared)
