"""Tuning of weights and activations in int8, on the grids of a target."""

from __future__ import annotations

from fnmatch import fnmatchcase

from graphquant_core.graph.frozen import import_frozen
from graphquant_core.graph.planner import plan_graph
from graphquant_core.layer import Layer, Skip
from graphquant_core.plan import Plan
from graphquant_core.record import Record
from graphquant_tune.curve import CurvePoint, curve_of_int8
from graphquant_tune.distill_int8 import distil_int8
from graphquant_tune.goals import Goal
from graphquant_tune.int8_ranges import (
    Int8Choices,
    deployed_quality,
    equalized_task,
    estimated_record,
    int8_sensitivities,
)
from graphquant_tune.layer_costs import LayerSensitivity
from graphquant_tune.loop import DivergedError, Ended, Progress
from graphquant_tune.result import TunedModel
from graphquant_tune.task import Task


def tune_int8(task: Task, goal: Goal) -> TunedModel:
    """The model of `task` in int8.

    Raises:
        ConfigError: `goal` can't be reached.
        NoLayersError: The model has no layer that is quantised.
    """
    task = equalized_task(task)
    record = estimated_record(task, task.skip_layers)
    found: tuple[LayerSensitivity, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    if goal.is_mixed or task.draws_curve:
        found = int8_sensitivities(task, record)
        choices = Int8Choices(task, record, found, by_weight=goal.size is not None)
        count = _count(choices, goal)
        record = choices.record(count)
        if task.draws_curve:
            curve = curve_of_int8(choices, count, task.report)
    graph_def = task.model.graph_def
    before = after = deployed_quality(task, graph_def, record)
    task.warn_of_no_numbers(before)
    ended = Ended()
    if task.schedule.steps:
        task.check_exportable(graph_def, record)

        def heard(progress: Progress) -> None:
            task.report("training", progress.step, progress.steps, f"loss {progress.loss:.4g}")

        try:
            trained, trained_record, ended = distil_int8(
                task.model, record, task.samples, task.judges, task.target, task.schedule, heard
            )
        except DivergedError as error:
            ended = task.warn_of_divergence(error)
        else:
            quality = deployed_quality(task, trained, trained_record)
            if quality.distance <= before.distance:
                graph_def, record, after = trained, trained_record, quality
            else:
                task.warn_of_loss(before, quality)
    bits = dict.fromkeys(record, 8)
    return TunedModel(
        graph_def,
        task.model.outputs,
        record,
        bits,
        _plan(task, record, _reason(goal)),
        found,
        before,
        after,
        ended,
        curve,
    )


def _count(choices: Int8Choices, goal: Goal) -> int:
    """How many layers are quantised: the fewest for a size, the most within a quality."""
    if goal.size is not None:
        return choices.fewest_within(goal.size)
    return choices.most if goal.within is None else choices.most_within(goal.within)


def _reason(goal: Goal) -> str:
    if goal.size is not None:
        return "the file is within its size without it"
    return "in int8 it costs more than is allowed"


def _plan(task: Task, record: Record, reason: str) -> Plan:
    """Every layer, with the reason why those without factors stay float."""
    rows = plan_graph(import_frozen(task.model.graph_def)).rows
    return Plan(tuple(row if row.name in record else _skip(task, row, reason) for row in rows))


def _skip(task: Task, row: Layer | Skip, reason: str) -> Skip:
    if isinstance(row, Skip):
        return row
    named = any(fnmatchcase(row.name, pattern) for pattern in task.skip_layers)
    return Skip(row.name, row.op_type, "skip_layers names it" if named else reason)
