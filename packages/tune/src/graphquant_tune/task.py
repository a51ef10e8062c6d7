"""What one call of `tune` works on."""

from __future__ import annotations

import logging
import math

import attrs
import tensorflow as tf

from graphquant_core.registry import load_registry
from graphquant_core.weight_record import Factors
from graphquant_tune.file_sizes import artifact_size
from graphquant_tune.folded import FoldedModel
from graphquant_tune.loop import DivergedError, Ended, Schedule
from graphquant_tune.quality import FloatAnswers, Quality
from graphquant_tune.report import Report
from graphquant_tune.samples import Samples

logger = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class Task:
    """The arguments of a call, checked.

    Attributes:
        model: The float model, folded.
        samples: Samples of its inputs, to learn from.
        judges: Others, that nothing is learned from; or the same, where there are few.
        target: Name of the target.
        skip_layers: Names or patterns of layers that stay float.
        schedule: How long to train.
        report: Hears of progress.
        draws_curve: Whether size against quality is measured, for the report.
        answers: What the float model answers to `judges`.
    """

    model: FoldedModel
    samples: Samples
    judges: Samples
    target: str
    skip_layers: tuple[str, ...]
    schedule: Schedule
    report: Report
    draws_curve: bool = False
    answers: FloatAnswers = attrs.field(init=False)

    @answers.default
    def _of_the_model(self) -> FloatAnswers:
        return FloatAnswers(self.model.graph_def, self.model.outputs, self.judges)

    def check_exportable(self, graph_def: tf.compat.v1.GraphDef, factors: Factors) -> None:
        """Exports the untrained model to a folder that is thrown away.

        What can't be exported, because a wheel is missing or the target hasn't such models, isn't
        trained for minutes first.

        Raises: as the target's exporter.
        """
        self.report("trying the export", 0, 1, "")
        exporter = load_registry().exporter(self.target)
        outputs = list(self.model.outputs)
        artifact_size(lambda path: exporter.export(graph_def, outputs, factors, path))

    def warn_of_no_numbers(self, quality: Quality) -> None:
        """Says of a model that answers NaN or infinity that it does, and what helps."""
        if not math.isfinite(quality.distance):
            logger.warning(
                "quantised, the model answers NaN or infinity on samples; within leaves the layers "
                "float that cause it, and skip_layers those that you name"
            )

    def warn_of_divergence(self, error: DivergedError) -> Ended:
        """Says that training ended in NaN, so that its start is kept; returns how it ended."""
        logger.warning("%s: its start is kept", error)
        return error.ended

    def warn_of_loss(self, before: Quality, after: Quality) -> None:
        """Says that training made the model worse, so that its start is kept."""
        logger.warning(
            "training ended further from the float model (%.4g) than it began (%.4g), so that its "
            "start is kept: give more samples or more steps",
            after.distance,
            before.distance,
        )
