"""Tuning of weights alone, at 2 to 8 bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from graphquant_tune.allocating import bits_within_quality, bits_within_size, uniform_bits
from graphquant_tune.allocation import Bits
from graphquant_tune.compare import Comparison
from graphquant_tune.distill import distil
from graphquant_tune.goals import Goal
from graphquant_tune.grids import WIDTHS, Widths, put_on_grids, quantise_at
from graphquant_tune.loop import Ended, Progress
from graphquant_tune.result import TunedModel
from graphquant_tune.sensitivity import LayerSensitivity, layer_sensitivities
from graphquant_tune.task import Task

Values = dict[str, npt.NDArray[np.float32]]


def tune_weights(task: Task, goal: Goal) -> TunedModel:
    """The model of `task` with weights of few bits.

    Raises:
        ConfigError: `goal` can't be reached.
        NoLayersError: The model has no layer whose weight is quantised.
    """
    model = task.model
    widths = quantise_at(model, WIDTHS if goal.is_mixed else (8, goal.bits), task.skip_layers)
    with Comparison(model, task.samples) as comparison:
        found: tuple[LayerSensitivity, ...] = ()
        if goal.is_mixed:
            found = layer_sensitivities(
                model, widths, comparison,
                lambda done, total: task.report("measuring layers", done, total, ""),
            )  # fmt: skip
        if goal.size is not None:
            bits = bits_within_size(model, widths, found, goal.size, task.target, task.report)
        elif goal.within is not None:
            bits = bits_within_quality(model, widths, found, comparison, goal.within)
        else:
            bits = uniform_bits(model, widths, goal.bits)
        values = widths.values(model, bits)
        before = after = comparison.quality(values)
        ended = Ended()
        if task.schedule.steps:
            trained, ended = _trained(task, bits, widths)
            quality = comparison.quality(trained)
            if quality.distance <= before.distance:
                values, after = trained, quality
            else:
                task.warn_of_loss(before, quality)
    made = put_on_grids(model, values, bits, widths)
    return TunedModel(
        made.graph_def, model.outputs, made.params, bits, made.plan, found, before, after, ended
    )


def _trained(task: Task, bits: Bits, widths: Widths) -> tuple[Values, Ended]:
    def heard(progress: Progress) -> None:
        task.report("training", progress.step, progress.steps, f"loss {progress.loss:.4g}")

    return distil(
        task.model,
        bits,
        task.samples,
        task.schedule,
        asymmetric=widths.asymmetric,
        progress=heard,
    )
