"""Tuning of weights and activations in int8, on the grids of a target."""

from __future__ import annotations

import glob
from fnmatch import fnmatchcase

import numpy as np
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.frozen import import_frozen
from graphquant_core.graph.planner import plan_graph
from graphquant_core.layer import Layer, Skip
from graphquant_core.plan import Plan
from graphquant_core.record import Record
from graphquant_core.registry import load_registry
from graphquant_core.target_rules import TargetRules
from graphquant_export.post_training import quantize_post_training
from graphquant_export.quantized.simulate import simulate
from graphquant_export.quantized.target_simulation import simulate_target
from graphquant_tune.allocation import first_that
from graphquant_tune.distill_int8 import distil_int8
from graphquant_tune.goals import Goal, Within, unreachable
from graphquant_tune.layer_costs import LayerSensitivity
from graphquant_tune.loop import Ended, Progress
from graphquant_tune.quality import Quality, quality_of
from graphquant_tune.result import TunedModel
from graphquant_tune.task import Task

RANGE_SAMPLES = 256
"""Samples that ranges are estimated on."""


def tune_int8(task: Task, goal: Goal) -> TunedModel:
    """The model of `task` in int8.

    Raises:
        ConfigError: `goal` can't be reached.
        NoLayersError: The model has no layer that is quantised.
    """
    record = _record(task, task.skip_layers)
    found: tuple[LayerSensitivity, ...] = ()
    if goal.within is not None:
        found = _sensitivities(task, record)
        record = _record_within(task, record, found, goal.within)
    graph_def = task.model.graph_def
    before = after = _quality(task, graph_def, record)
    ended = Ended()
    if task.schedule.steps:

        def heard(progress: Progress) -> None:
            task.report("training", progress.step, progress.steps, f"loss {progress.loss:.4g}")

        trained, trained_record, ended = distil_int8(
            task.model, list(record), task.samples, task.target, task.schedule, heard
        )
        quality = _quality(task, trained, trained_record)
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
        _plan(task, record),
        found,
        before,
        after,
        ended,
    )


def _record(task: Task, skip_layers: tuple[str, ...]) -> Record:
    """Ranges from the first samples, and those of what the target rounds besides."""
    arrays = task.samples.some(RANGE_SAMPLES)
    return quantize_post_training(
        task.model.graph_def,
        task.model.outputs,
        arrays,
        skip_layers=skip_layers,
        target=task.target,
        progress=lambda done, total: task.report("estimating ranges", done, total, ""),
    )


def _quality(task: Task, graph_def: tf.compat.v1.GraphDef, record: Record) -> Quality:
    """That of what the target computes."""
    rules = getattr(load_registry().exporter(task.target), "rules", TargetRules())
    simulated = simulate(graph_def, task.model.outputs, record)
    target = simulate_target(simulated, record, rules)
    return quality_of(task.model.graph_def, target.graph_def, task.model.outputs, task.samples)


def _sensitivities(task: Task, record: Record) -> tuple[LayerSensitivity, ...]:
    """Distance of the outputs with one layer in int8 and all others float."""
    sizes = {
        layer.name: int(np.prod(layer.layer.weight_shape or ())) for layer in task.model.layers
    }
    types = {node.name: node.op for node in task.model.graph_def.node}
    found = []
    for done, (name, factors) in enumerate(record.items()):
        task.report("measuring layers", done, len(record), "")
        alone = simulate(task.model.graph_def, task.model.outputs, Record({name: factors}))
        quality = quality_of(
            task.model.graph_def, alone.graph_def, task.model.outputs, task.samples
        )
        found.append(
            LayerSensitivity(name, types.get(name, ""), sizes.get(name, 0), {8: quality.distance})
        )
    return tuple(found)


def _record_within(
    task: Task, record: Record, found: tuple[LayerSensitivity, ...], within: Within
) -> Record:
    """Ranges of as many layers as the outputs allow; those that cost most stay float."""
    order = [layer.name for layer in sorted(found, key=lambda layer: layer.distances[8])]
    records = {len(order): record}

    def holds(count: int) -> bool:
        if count not in records:
            left = tuple(map(glob.escape, order[count:]))
            records[count] = _record(task, (*task.skip_layers, *left))
        return within.holds(_quality(task, task.model.graph_def, records[count]))

    count = first_that(range(len(order), 0, -1), holds)
    if count is None:
        best = _quality(task, task.model.graph_def, records[1])
        raise ConfigError(unreachable(within, f'"{order[0]}" alone in int8', best))
    return records[count]


def _plan(task: Task, record: Record) -> Plan:
    """Every layer, with the reason why those without factors stay float."""
    rows = plan_graph(import_frozen(task.model.graph_def)).rows
    return Plan(tuple(row if row.name in record else _skip(task, row) for row in rows))


def _skip(task: Task, row: Layer | Skip) -> Skip:
    if isinstance(row, Skip):
        return row
    named = any(fnmatchcase(row.name, pattern) for pattern in task.skip_layers)
    reason = "skip_layers names it" if named else "in int8 it costs more than is allowed"
    return Skip(row.name, row.op_type, reason)
