"""Ranges of int8, how near they are to floats, and which layers they cost too much in."""

from __future__ import annotations

import glob
from collections.abc import Sequence

import attrs
import numpy as np
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.quiet import nothing_said
from graphquant_core.record import Record
from graphquant_core.registry import load_registry
from graphquant_core.target_rules import TargetRules
from graphquant_export.post_training import equalized, quantize_post_training
from graphquant_export.quantized.simulate import simulate
from graphquant_export.quantized.target_simulation import simulate_target
from graphquant_tune.allocation import first_that
from graphquant_tune.file_sizes import artifact_size
from graphquant_tune.folded import with_graph
from graphquant_tune.goals import Within, unreachable
from graphquant_tune.layer_costs import LayerSensitivity
from graphquant_tune.quality import FloatAnswers, Quality
from graphquant_tune.task import Task

RANGE_SAMPLES = 256
"""Samples that ranges are estimated on, and that layers are ordered by."""


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
    """That of what the target computes; an export says what there is to be warned of."""
    rules = getattr(load_registry().exporter(task.target), "rules", TargetRules())
    with nothing_said("graphquant_export"):
        simulated = simulate(graph_def, task.model.outputs, record)
        target = simulate_target(simulated, record, rules)
    return task.answers.quality(target.graph_def)


def int8_sensitivities(task: Task, record: Record) -> tuple[LayerSensitivity, ...]:
    """Distance of the outputs with one layer in int8 and all others float."""
    sizes = {
        layer.name: int(np.prod(layer.layer.weight_shape or ())) for layer in task.model.layers
    }
    types = {node.name: node.op for node in task.model.graph_def.node}
    answers = FloatAnswers(task.model.graph_def, task.model.outputs, task.samples, RANGE_SAMPLES)
    found = []
    for done, (name, factors) in enumerate(record.items()):
        task.report("measuring layers", done, len(record), "")
        # Its correction is for what the layers before it do.
        alone_factors = attrs.evolve(factors, bias_correction=None)
        with nothing_said("graphquant_export"):
            alone = simulate(
                task.model.graph_def, task.model.outputs, Record({name: alone_factors})
            )
        quality = answers.quality(alone.graph_def)
        found.append(
            LayerSensitivity(name, types.get(name, ""), sizes.get(name, 0), {8: quality.distance})
        )
    return tuple(found)


class Int8Choices:
    """Ranges for as many layers as one wants; those that cost most stay float.

    Args:
        task: The call.
        record: Ranges of all layers.
        found: What each of them costs.
        by_weight: Whether what they cost counts for each of their weights, which a size is made of.
    """

    def __init__(
        self,
        task: Task,
        record: Record,
        found: Sequence[LayerSensitivity],
        by_weight: bool = False,
    ) -> None:
        def cost(layer: LayerSensitivity) -> float:
            return layer.distances[8] / (max(layer.weights, 1) if by_weight else 1)

        self._task = task
        self._order = [layer.name for layer in sorted(found, key=cost)]
        self._records = {len(self._order): record}
        self._qualities: dict[int, Quality] = {}

    @property
    def most(self) -> int:
        """Number of layers that can be quantised."""
        return len(self._order)

    def record(self, count: int) -> Record:
        """Ranges of the `count` layers that cost least."""
        if count not in self._records:
            left = tuple(map(glob.escape, self._order[count:]))
            skipped = (*self._task.skip_layers, *left)
            with nothing_said("graphquant_export"):
                self._records[count] = estimated_record(self._task, skipped)
        return self._records[count]

    def quality(self, count: int) -> Quality:
        """That of what the target computes with `record(count)`."""
        if count not in self._qualities:
            graph_def = self._task.model.graph_def
            self._qualities[count] = deployed_quality(self._task, graph_def, self.record(count))
        return self._qualities[count]

    def size(self, count: int) -> int:
        """Bytes of the target's file with `record(count)`."""
        exporter = load_registry().exporter(self._task.target)
        model, record = self._task.model, self.record(count)
        return artifact_size(
            lambda path: exporter.export(model.graph_def, list(model.outputs), record, path)
        )

    def most_within(self, within: Within) -> int:
        """The largest number of layers whose outputs are within.

        Raises:
            ConfigError: Not even one is; says how near that is.
        """

        def holds(count: int) -> bool:
            return within.holds(self.quality(count))

        count = first_that(range(self.most, 0, -1), holds)
        if count is None:
            raise ConfigError(
                unreachable(within, f'"{self._order[0]}" alone in int8', self.quality(1))
            )
        return count

    def fewest_within(self, size: int) -> int:
        """The smallest number of layers with which the file weighs at most `size` bytes.

        Raises:
            ConfigError: Even with all of them it is larger; says how large.
        """
        count = first_that(range(1, self.most + 1), lambda count: self.size(count) <= size)
        if count is None:
            raise ConfigError(
                f"size ({size} bytes) cannot be reached: with all layers in int8 the file has "
                f"{self.size(self.most)}; weight_only has weights of fewer bits"
            )
        return count
