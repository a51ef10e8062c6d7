"""Ranges of int8, how near they are to floats, and which layers they cost too much in."""

from __future__ import annotations

import glob

import attrs
import numpy as np
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.record import Record
from graphquant_core.registry import load_registry
from graphquant_core.target_rules import TargetRules
from graphquant_export.post_training import equalized, quantize_post_training
from graphquant_export.quantized.simulate import simulate
from graphquant_export.quantized.target_simulation import simulate_target
from graphquant_tune.allocation import first_that
from graphquant_tune.folded import with_graph
from graphquant_tune.goals import Within, unreachable
from graphquant_tune.layer_costs import LayerSensitivity
from graphquant_tune.quality import Quality, quality_of
from graphquant_tune.task import Task

RANGE_SAMPLES = 256
"""Samples that ranges are estimated on."""


def equalized_task(task: Task) -> Task:
    """`task` with a model of the same function whose activations lose less in int8."""
    graph_def = equalized(
        task.model.graph_def,
        task.model.outputs,
        task.samples.some(RANGE_SAMPLES),
        skip_layers=task.skip_layers,
        target=task.target,
    )
    return attrs.evolve(task, model=with_graph(task.model, graph_def))


def estimated_record(task: Task, skip_layers: tuple[str, ...]) -> Record:
    """Ranges from the first samples, and those of what the target rounds besides."""
    arrays = task.samples.some(RANGE_SAMPLES)
    return quantize_post_training(
        task.model.graph_def,
        task.model.outputs,
        arrays,
        skip_layers=skip_layers,
        target=task.target,
        equalize=False,
        progress=lambda done, total: task.report("estimating ranges", done, total, ""),
    )


def deployed_quality(task: Task, graph_def: tf.compat.v1.GraphDef, record: Record) -> Quality:
    """That of what the target computes."""
    rules = getattr(load_registry().exporter(task.target), "rules", TargetRules())
    simulated = simulate(graph_def, task.model.outputs, record)
    target = simulate_target(simulated, record, rules)
    return quality_of(task.model.graph_def, target.graph_def, task.model.outputs, task.samples)


def int8_sensitivities(task: Task, record: Record) -> tuple[LayerSensitivity, ...]:
    """Distance of the outputs with one layer in int8 and all others float."""
    sizes = {
        layer.name: int(np.prod(layer.layer.weight_shape or ())) for layer in task.model.layers
    }
    types = {node.name: node.op for node in task.model.graph_def.node}
    found = []
    for done, (name, factors) in enumerate(record.items()):
        task.report("measuring layers", done, len(record), "")
        # Its correction is for what the layers before it do.
        alone_factors = attrs.evolve(factors, bias_correction=None)
        alone = simulate(task.model.graph_def, task.model.outputs, Record({name: alone_factors}))
        quality = quality_of(
            task.model.graph_def, alone.graph_def, task.model.outputs, task.samples
        )
        found.append(
            LayerSensitivity(name, types.get(name, ""), sizes.get(name, 0), {8: quality.distance})
        )
    return tuple(found)


def record_within(
    task: Task, record: Record, found: tuple[LayerSensitivity, ...], within: Within
) -> Record:
    """Ranges of as many layers as the outputs allow; those that cost most stay float."""
    order = [layer.name for layer in sorted(found, key=lambda layer: layer.distances[8])]
    records = {len(order): record}

    def holds(count: int) -> bool:
        if count not in records:
            left = tuple(map(glob.escape, order[count:]))
            records[count] = estimated_record(task, (*task.skip_layers, *left))
        return within.holds(deployed_quality(task, task.model.graph_def, records[count]))

    count = first_that(range(len(order), 0, -1), holds)
    if count is None:
        best = deployed_quality(task, task.model.graph_def, records[1])
        raise ConfigError(unreachable(within, f'"{order[0]}" alone in int8', best))
    return records[count]
