"""Weights rounded layer by layer on what each layer takes once those before it are quantised."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.finite import check_finite
from graphquant_core.graph.frozen import import_frozen
from graphquant_core.layer import Layer
from graphquant_export.inputs.batches import make_batches
from graphquant_wq.gptq import errors, gptq
from graphquant_wq.graph.moments import InputMoments, Moments, ResultMoments, joined_moments
from graphquant_wq.graph.patches import input_blocks, patches
from graphquant_wq.graph.records import QuantizedWeight
from graphquant_wq.graph.sample_runs import SampleRuns
from graphquant_wq.graph.shift import ShiftPlace
from graphquant_wq.weight_unit import Float32Array, Float64Array, WeightUnit

LARGEST_FAN_IN = 4608
"""Inputs of an output channel whose covariance is used; it and its inverse take 170 MB each."""

_BATCH_VALUES, _LARGEST_BATCH = 2**24, 256
"""Values that the inputs of a layer have in a batch, at most; and samples."""

_LARGEST_SCALING = 2.0


@attrs.frozen
class RoundedLayer:
    """How the weight of a layer was rounded.

    Attributes:
        name: Name of the layer.
        method: ``"gptq"`` or ``"nearest"``.
        reason: Why it isn't GPTQ; ``""`` when it is.
        error: What rounding adds to the layer's results on its samples, as a share of their
            variance, before anything is corrected; ``None`` when it wasn't measured.
    """

    name: str
    method: str
    reason: str = ""
    error: float | None = None


class Calibration:
    """Rounds the units of a graph one after the other, and corrects their layers' results.

    Args:
        graph_def: The float graph; layers take the Const of their unit, and shifts theirs.
        units: Its weights, in the order in which they are needed first.
        shifts: Where each layer is shifted, by its name.
        samples: Samples for each placeholder, by its name.
    """

    def __init__(
        self,
        graph_def: tf.compat.v1.GraphDef,
        units: Sequence[WeightUnit],
        shifts: Mapping[str, ShiftPlace],
        samples: Mapping[str, npt.ArrayLike],
    ) -> None:
        self._units, self._shifts = units, shifts
        self._graph = import_frozen(graph_def)
        self._inputs: dict[str, InputMoments] = {}
        self._results: dict[str, ResultMoments] = {}
        self.rounded: list[RoundedLayer] = []
        layers = [weight.layer for unit in units for weight in unit.layers]
        self._batches = make_batches(
            self._graph, samples, _batch_size(self._graph, layers), "samples"
        )
        with self._graph.as_default():
            for layer in layers:
                op = self._graph.get_operation_by_name(layer.name)
                self._results[layer.name] = ResultMoments.of(
                    op.outputs[0], layer.output_channels or 1
                )
                if (layer.fan_in or 1) <= LARGEST_FAN_IN:
                    self._inputs[layer.name] = InputMoments.of(patches(layer, op))

    def run(self, progress: Callable[[int, int], object] | None = None) -> dict[str, Float32Array]:
        """The new value of each Const, by its name."""
        with closing(SampleRuns(self._graph, self._batches)) as runs:
            wanted = self._float_moments(runs)
            # A shared weight is rounded when its first layer is reached, each layer shifted when
            # it is.
            order = [(weight, unit) for unit in self._units for weight in unit.layers]
            position = {op.name: n for n, op in enumerate(self._graph.get_operations())}
            order.sort(key=lambda pair: position[pair[0].layer.name])
            done: set[str] = set()
            for number, (weight, unit) in enumerate(order):
                self._keep(runs, weight)
                if unit.node not in done:
                    done.add(unit.node)
                    runs.constants[f"{unit.node}:0"] = self._rounded(runs, unit)
                self._correct(runs, unit, weight.layer.name, wanted[weight.layer.name])
                if progress is not None:
                    progress(number + 1, len(order))
            return {name.removesuffix(":0"): value for name, value in runs.constants.items()}

    def _float_moments(self, runs: SampleRuns) -> dict[str, Moments]:
        """Those of each layer's results, before anything is quantised."""
        ops = {name: result.tensors for name, result in self._results.items()}
        parts = list(runs.run(ops))
        found = {name: joined_moments([part[name] for part in parts]) for name in ops}
        for name, moments in found.items():
            check_finite(moments.spread, f'what layer "{name}" returns on samples')
        return found

    def _keep(self, runs: SampleRuns, weight: QuantizedWeight) -> None:
        op = self._graph.get_operation_by_name(weight.layer.name)
        runs.keep(op.inputs[weight.layer.activation_port].name)

    def _rounded(self, runs: SampleRuns, unit: WeightUnit) -> Float32Array:
        """The weight of `unit` on its grid, by GPTQ where its inputs say enough."""
        nearest = unit.nearest()
        names = [weight.layer.name for weight in unit.layers]
        moments = self._joint_inputs(runs, names)
        reason = moments if isinstance(moments, str) else _unfit(moments)
        if isinstance(moments, str) or reason:
            self.rounded += [RoundedLayer(name, "nearest", reason) for name in names]
            return nearest
        found = unit.on_grid(gptq(unit.task(), moments.spread))
        share = _error_share(unit, found, moments)
        self.rounded += [RoundedLayer(name, "gptq", error=share) for name in names]
        return found

    def _joint_inputs(self, runs: SampleRuns, names: Sequence[str]) -> Moments | str:
        """The moments of what the layers `names`, which share a weight, take."""
        if not all(name in self._inputs for name in names):
            return f"more than {LARGEST_FAN_IN} inputs for each output channel"
        parts = [self._inputs[name].measured(runs) for name in names]
        if len({part.mean.shape for part in parts}) > 1:
            return "layers that share its weight divide it into other groups"
        counts = np.array([part.count for part in parts], np.float64)
        shares = counts / counts.sum()
        spread = sum(share * part.spread for share, part in zip(shares, parts, strict=True))
        mean = sum(share * part.mean for share, part in zip(shares, parts, strict=True))
        return Moments(int(counts.sum()), np.asarray(mean), np.asarray(spread))

    def _correct(self, runs: SampleRuns, unit: WeightUnit, name: str, wanted: Moments) -> None:
        """Gives the results of layer `name` the mean and the deviation that they had."""
        found = self._results[name].measured(runs)
        mean = found.mean
        if len(unit.layers) == 1 and not unit.layers[0].grouping.crosses_channels:
            scaling = _scaling(found.spread, wanted.spread)
            constant = f"{unit.node}:0"
            runs.constants[constant] = unit.scaled(runs.constants[constant], scaling)
            mean = mean * scaling
        if name in self._shifts:
            place = self._shifts[name]
            runs.constants[f"{place.node}:0"] = place.shifted(wanted.mean - mean)


def _batch_size(graph: tf.Graph, layers: Sequence[Layer]) -> int:
    """As many samples as keep the inputs of every layer's weights, in a batch, within 64 MB."""
    largest = 1
    for layer in layers:
        result = graph.get_operation_by_name(layer.name).outputs[0].shape
        positions = math.prod(size or 1 for size in result[1:-1]) if result.rank else 1
        largest = max(largest, positions * input_blocks(layer) * (layer.fan_in or 1))
    return min(max(_BATCH_VALUES // largest, 1), _LARGEST_BATCH)


def _unfit(moments: Moments) -> str:
    """Why GPTQ can't tell from `moments` which errors matter; ``""`` when it can."""
    size = moments.mean.shape[-1]
    if not np.einsum("bkk->bk", moments.spread).any():
        return "what it takes is the same for every sample"
    if moments.count < size:
        return f"its {size} inputs were seen {moments.count} times; at least as often is needed"
    return ""


def _error_share(unit: WeightUnit, found: Float32Array, moments: Moments) -> float:
    weights = unit.by_channel(unit.value)
    lost = errors(unit.by_channel(found) - weights, moments.spread).sum()
    whole = errors(weights, moments.spread).sum()
    return float(lost / whole) if whole > 0 else 0.0


def _scaling(found: Float64Array, wanted: Float64Array) -> Float64Array:
    """sqrt(wanted / found) of each variance, within a factor of two; 1 where one is zero."""
    usable = (found > 0) & (wanted > 0)
    ratio = np.sqrt(np.divide(wanted, found, out=np.ones_like(found), where=usable))
    return np.asarray(np.clip(ratio, 1 / _LARGEST_SCALING, _LARGEST_SCALING))
