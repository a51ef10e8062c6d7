"""Tuning of weights alone, at 2 to 8 bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from graphquant_tune.allocation import Bits
from graphquant_tune.choose_bits import WeightFiles, bits_within_quality, weight_files
from graphquant_tune.compare import Comparison
from graphquant_tune.curve import CurvePoint, curve_of_weights
from graphquant_tune.distill import distil
from graphquant_tune.goals import Goal
from graphquant_tune.grids import (
    WIDTHS,
    Widths,
    calibrated,
    put_on_grids,
    quantise_at,
    uniform_bits,
    weight_record,
)
from graphquant_tune.layer_costs import LayerSensitivity, layer_sensitivities
from graphquant_tune.loop import DivergedError, Ended, Progress
from graphquant_tune.quality import COMPARED_SAMPLES
from graphquant_tune.result import TunedModel
from graphquant_tune.task import Task

Values = dict[str, npt.NDArray[np.float32]]


def tune_weights(task: Task, goal: Goal) -> TunedModel:
    """The model of `task` with weights of few bits.

    Raises:
        ConfigError: `goal` can't be reached.
        NoLayersError: The model has no layer whose weight is quantised.
    """
    model = task.model
    is_measured = goal.is_mixed or task.draws_curve
    widths = quantise_at(model, WIDTHS if is_measured else (8, goal.bits), task.skip_layers)
    with Comparison(model, task.samples) as comparison:
        found: tuple[LayerSensitivity, ...] = ()
        files: WeightFiles | None = None
        curve: tuple[CurvePoint, ...] = ()
        if is_measured:
            found = layer_sensitivities(
                model, widths, comparison,
                lambda done, total: task.report("measuring layers", done, total, ""),
            )  # fmt: skip
        if goal.size is not None or task.draws_curve:
            files = weight_files(model, widths, found, task.target, task.report)
        if goal.size is not None and files is not None:
            bits = files.bits_within(goal.size)
        elif goal.within is not None:
            bits = bits_within_quality(model, widths, found, comparison, goal.within)
        else:
            bits = uniform_bits(model, widths, goal.bits)
        if task.draws_curve and files is not None:
            curve = curve_of_weights(files, comparison, bits, task.report)
    made = calibrated(
        model, bits, widths, task.samples.some(COMPARED_SAMPLES),
        lambda done, total: task.report("rounding weights", done, total, ""),
    )  # fmt: skip
    before = after = task.answers.quality(made.graph_def)
    task.warn_of_no_numbers(before)
    record, ended = weight_record(bits, widths), Ended()
    if task.schedule.steps:
        task.check_exportable(made.graph_def, record)
        try:
            values, ended = _trained(task, bits, model.values_in(made.graph_def), widths)
        except DivergedError as error:
            ended = task.warn_of_divergence(error)
        else:
            trained = put_on_grids(model, values, bits, widths)
            quality = task.answers.quality(trained.graph_def)
            if quality.distance <= before.distance:
                made, after = trained, quality
            else:
                task.warn_of_loss(before, quality)
    return TunedModel(
        made.graph_def,
        model.outputs,
        record,
        bits,
        made.plan,
        found,
        before,
        after,
        ended,
        curve,
    )


def _trained(task: Task, bits: Bits, start: Values, widths: Widths) -> tuple[Values, Ended]:
    def heard(progress: Progress) -> None:
        task.report("training", progress.step, progress.steps, f"loss {progress.loss:.4g}")

    return distil(
        task.model,
        bits,
        start,
        task.samples,
        task.judges,
        task.schedule,
        asymmetric=widths.asymmetric,
        progress=heard,
    )
