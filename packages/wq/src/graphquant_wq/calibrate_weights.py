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
from graphquant_wq.gptq import compensated, errors
from graphquant_wq.graph.moments import InputMoments, Inputs, Moments, ResultMoments, joined_moments
from graphquant_wq.graph.patches import input_blocks, patches
from graphquant_wq.graph.records import QuantizedWeight
from graphquant_wq.graph.sample_runs import SampleRuns
from graphquant_wq.graph.shift import ShiftPlace
from graphquant_wq.weight_unit import Float32Array, Float64Array, WeightUnit

LARGEST_FAN_IN = 4608
"""Inputs of an output channel whose covariance is used; it and its inverse take 170 MB each."""

_FEWEST_ROWS, _ROWS_FOR_AN_INPUT = 2**14, 64
"""Rows of inputs that moments are taken from, at least where there are more."""

_BATCH_VALUES, _LARGEST_BATCH = 2**23, 256
"""Values that the inputs of a layer have in a batch, at most; and samples."""

_LARGEST_SCALING = 2.0


@attrs.frozen
class RoundedLayer:
    """How the weight of a layer was rounded.

    Attributes:
        name: Name of the layer.
        method: ``"gptq"`` or ``"nearest"``.
        reason: Why it isn't GPTQ; ``""`` when it is.
        error: What rounding adds to the layer's results on the samples, as a share of their
            variance, before anything is corrected; ``None`` when it wasn't measured.
        nearest_error: What rounding to the nearest would add.
    """

    name: str
    method: str
    reason: str = ""
    error: float | None = None
    nearest_error: float | None = None


class Calibration:
    """Rounds the units of a graph one after the other, and corrects their layers' results.

    What a layer takes isn't what it took in the float graph once the layers before it are
    quantised: its weights first become those that give the float results from the inputs that it
    now has, then GPTQ rounds them.

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
        self._wanted: dict[str, ResultMoments] = {}
        self.rounded: list[RoundedLayer] = []
        layers = [weight.layer for unit in units for weight in unit.layers]
        size = _batch_size(self._graph, layers)
        self._batches = make_batches(self._graph, samples, size, "samples")
        self._floats = _float_copy(self._graph, graph_def, layers)
        with self._graph.as_default():
            for layer in layers:
                op, before = self._graph.get_operation_by_name(layer.name), self._floats[layer.name]
                channels = layer.output_channels or 1
                self._results[layer.name] = ResultMoments.of(op.outputs[0], channels)
                self._wanted[layer.name] = ResultMoments.of(before.outputs[0], channels)
                if (layer.fan_in or 1) <= LARGEST_FAN_IN:
                    step = _row_step(_positions(op), self._batches.total, layer.fan_in or 1)
                    rows, original = (patches(layer, x)[::step] for x in (op, before))
                    self._inputs[layer.name] = InputMoments.of(rows, original)

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
        ops = {name: result.tensors for name, result in self._wanted.items()}
        parts = list(runs.run(ops))
        found = {name: joined_moments([part[name] for part in parts]) for name in ops}
        for name, moments in found.items():
            check_finite(moments.variance, f'what layer "{name}" returns on samples')
        return found

    def _keep(self, runs: SampleRuns, weight: QuantizedWeight) -> None:
        port = weight.layer.activation_port
        for op in (
            self._graph.get_operation_by_name(weight.layer.name),
            self._floats[weight.layer.name],
        ):
            runs.keep(op.inputs[port].name)

    def _rounded(self, runs: SampleRuns, unit: WeightUnit) -> Float32Array:
        """The weight of `unit` on its grid, by GPTQ where its inputs say enough."""
        names = [weight.layer.name for weight in unit.layers]
        inputs = self._joint_inputs(runs, names)
        reason = inputs if isinstance(inputs, str) else _unfit(inputs)
        if isinstance(inputs, str) or reason:
            self.rounded += [RoundedLayer(name, "nearest", reason) for name in names]
            return unit.nearest()
        found, error, nearest_error = _by_gptq(unit, inputs)
        if nearest_error < error:
            found, error, reason = unit.nearest(), nearest_error, "it loses less than GPTQ does"
        method = "nearest" if reason else "gptq"
        self.rounded += [RoundedLayer(x, method, reason, error, nearest_error) for x in names]
        return found

    def _joint_inputs(self, runs: SampleRuns, names: Sequence[str]) -> Inputs | str:
        """What the layers `names`, which share a weight, take; a sentence if that can't be told."""
        if not all(name in self._inputs for name in names):
            return f"more than {LARGEST_FAN_IN} inputs for each output channel"
        parts = [self._inputs[name].measured(runs) for name in names]
        if len({part.covariance.shape for part in parts}) > 1:
            return "layers that share its weight divide it into other groups"
        return Inputs.joined(parts)

    def _correct(self, runs: SampleRuns, unit: WeightUnit, name: str, wanted: Moments) -> None:
        """Gives the results of layer `name` the mean and the deviation that they had."""
        found = self._results[name].measured(runs)
        mean = found.mean
        if len(unit.layers) == 1 and not unit.layers[0].grouping.crosses_channels:
            scaling = _scaling(found.variance, wanted.variance)
            constant = f"{unit.node}:0"
            runs.constants[constant] = unit.scaled(runs.constants[constant], scaling)
            mean = mean * scaling
        if name in self._shifts:
            place = self._shifts[name]
            runs.constants[f"{place.node}:0"] = place.shifted(wanted.mean - mean)


def _batch_size(graph: tf.Graph, layers: Sequence[Layer]) -> int:
    """As many samples as keep the inputs of every layer's weights, in a batch, within 32 MB."""
    largest = 1
    for layer in layers:
        positions = _positions(graph.get_operation_by_name(layer.name))
        largest = max(largest, positions * input_blocks(layer) * (layer.fan_in or 1))
    return min(max(_BATCH_VALUES // largest, 1), _LARGEST_BATCH)


def _positions(op: tf.Operation) -> int:
    """Rows of inputs that a sample has, as far as the shape of the result says."""
    shape = op.outputs[0].shape
    return math.prod(size or 1 for size in shape[1:-1]) if shape.rank else 1


def _row_step(positions: int, samples: int, size: int) -> int:
    """Every how many rows of `size` inputs one is enough, when there are so many samples.

    It shares no factor with the positions of a sample, so that each of them has its turn.
    """
    enough = max(_FEWEST_ROWS, _ROWS_FOR_AN_INPUT * size)
    step = max(positions * samples // enough, 1)
    while math.gcd(step, positions) > 1:
        step -= 1
    return step


def _float_copy(
    graph: tf.Graph, graph_def: tf.compat.v1.GraphDef, layers: Sequence[Layer]
) -> dict[str, tf.Operation]:
    """Adds `graph_def` to `graph` once more, on the same placeholders; its ops of `layers`."""
    places = {
        op.outputs[0].name: op.outputs[0]
        for op in graph.get_operations()
        if op.type.startswith("Placeholder")
    }
    names = [layer.name for layer in layers]
    with graph.as_default():
        ops = tf.import_graph_def(graph_def, places, return_elements=names, name="float")
    return dict(zip(names, ops, strict=True))


def _unfit(inputs: Inputs) -> str:
    """Why GPTQ can't tell from `inputs` which errors matter; ``""`` when it can."""
    size = inputs.covariance.shape[-1]
    if not np.einsum("bkk->bk", inputs.covariance).any():
        return "what it takes is the same for every sample"
    if inputs.count < size:
        return f"its {size} inputs were seen {inputs.count} times; at least as often is needed"
    return ""


def _by_gptq(unit: WeightUnit, inputs: Inputs) -> tuple[Float32Array, float, float]:
    """The weight on its grid; what it and rounding to the nearest add to the results' variance."""
    weights = unit.by_channel(unit.value)
    wanted = compensated(weights, inputs.crossed, inputs.covariance)
    found = unit.moved(wanted).rounded_for(inputs.covariance)
    whole = errors(wanted, inputs.covariance).sum()
    lost, nearest = (
        float(errors(unit.by_channel(x) - wanted, inputs.covariance).sum() / (whole or 1.0))
        for x in (found, unit.nearest())
    )
    return found, lost, nearest


def _scaling(found: Float64Array, wanted: Float64Array) -> Float64Array:
    """sqrt(wanted / found) of each variance, within a factor of two; 1 where one is zero."""
    usable = (found > 0) & (wanted > 0)
    ratio = np.sqrt(np.divide(wanted, found, out=np.ones_like(found), where=usable))
    return np.asarray(np.clip(ratio, 1 / _LARGEST_SCALING, _LARGEST_SCALING))
