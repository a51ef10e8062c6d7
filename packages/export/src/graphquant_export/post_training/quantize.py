"""Post-training quantisation: from a float model and a few inputs to a record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.calibration import RangeEstimator
from graphquant_core.exceptions import ConfigError, NoLayersError, RecordError, UnknownNameError
from graphquant_core.graph import GraphView, plan_graph
from graphquant_core.graph.frozen import (
    GraphDefEditor,
    check_outputs,
    evaluate_constants,
    import_frozen,
)
from graphquant_core.grid import INT8
from graphquant_core.layer import Layer
from graphquant_core.listing import brief_repr
from graphquant_core.plan import Plan
from graphquant_core.quantize import affine_params
from graphquant_core.record import LayerFactors, Record
from graphquant_core.suggestions import closest
from graphquant_export.post_training.estimators import range_estimator
from graphquant_export.post_training.samples import Float32Array, sample_values
from graphquant_export.post_training.weight_scales import weight_scales
from graphquant_export.quantized.complete_record import complete_record
from graphquant_export.quantized.find_layers import (
    LayerPlace,
    check_not_exported,
    find_layers,
)
from graphquant_export.quantized.layer_integers import needed_tensors
from graphquant_export.quantized.named_rules import rules_by_target
from graphquant_export.quantized.simulate import simulate
from graphquant_export.quantized.target_planner import TargetPlanner
from graphquant_export.quantized.value_grids import Range

logger = logging.getLogger(__name__)

BATCH_SIZE = 16


def quantize_post_training(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    calibration: Mapping[str, npt.ArrayLike],
    *,
    activation: str | RangeEstimator = "ifmr",
    skip_layers: Iterable[str] = (),
    target: str | Sequence[str] = "ascend",
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int, int], object] | None = None,
) -> Record:
    """Scales and offsets of every layer of `model`, ready to be exported with it.

    The range of an activation is estimated from the values that it has on `calibration`; layers
    that take the same tensor share it. Weights are as ARQ has them, max|w| / 127 for each output
    channel, with batch norm folded in. A MatMul has one for its whole weight where a target wants
    that, as Ascend does.

    Args:
        model: Frozen float graph.
        outputs: Names of the ops that are its outputs.
        calibration: Samples for each placeholder, by its name; a hundred or so that look like
            what the model will see.
        activation: ``"ifmr"`` (AMCT's search), ``"min_max"``, ``"mse"`` or ``"percentile"``, or a
            function like those of `graphquant_core.calibration`.
        skip_layers: Names or patterns of layers that stay float.
        target: Name of the target that the record is for, or several: the grids of what it rounds
            besides the inputs of layers are estimated, too, so that an export needs no calibration.
            ``"ascend"`` rounds nothing else.
        batch_size: Samples that are run at once.
        progress: Called with (samples done, samples in all) after each batch.

    Raises:
        OutputNotFoundError: An output is not in the model.
        NoLayersError: The model has no layer that can be quantised, or all are skipped.
        ConfigError, RangeError: `calibration` doesn't fit the placeholders of the model.
        NonFiniteError: A weight, an activation or a calibration sample is NaN or infinite.
        UnknownNameError: `skip_layers`, `activation` or `target` names nothing.
        ModelFileError: The model isn't frozen, or was exported before.
        RecordError: The model was trained with fake quantisers, so that it has a record already.
    """
    estimate = range_estimator(activation) if isinstance(activation, str) else activation
    targets = rules_by_target(target)
    units = frozenset.intersection(*(rules.unit_scales for rules in targets.values()))
    names = check_outputs(model, outputs)
    graph = import_frozen(GraphDefEditor(model).graph_def(names))
    places = _places(graph, names, skip_layers)
    activations = {place.layer.name: str(place.quantized.name) for place in places}
    values = _constants(graph, places)
    tensors = list(dict.fromkeys(activations.values()))
    samples = sample_values(graph, tensors, calibration, batch_size, progress)
    _warn_of_zeros(activations, samples)
    ranges = {name: _range(estimate, value) for name, value in samples.items()}
    factors = {}
    for place in places:
        scale_d, offset_d = ranges[activations[place.layer.name]]
        scale_w = None if place.weight is None else weight_scales(place, values, scale_d, units)
        factors[place.layer.name] = LayerFactors(scale_d, offset_d, scale_w, dst_type="INT8")
    record = Record(factors)
    if not any(rules.rounds for rules in targets.values()):
        return record

    def observe(tensors: Sequence[str]) -> dict[str, Range]:
        found = sample_values(import_frozen(simulated.graph_def), tensors, calibration, batch_size)
        ends = {name: estimate(value, INT8) for name, value in found.items()}
        return {name: (float(low), float(high)) for name, (low, high) in ends.items()}

    simulated = simulate(model, names, record)
    for rules in targets.values():
        record = complete_record(TargetPlanner(simulated, rules, ()), record, observe)
    return record


def _warn_of_zeros(
    activations: Mapping[str, str], samples: Mapping[str, npt.NDArray[np.float32]]
) -> None:
    zero = [layer for layer, name in activations.items() if not samples[name].any()]
    if zero:
        logger.warning(
            'what layer "%s"%s takes is zero for every calibration sample, so that its range is a '
            "guess: give samples like those that the model will see",
            zero[0],
            f" (and {len(zero) - 1} more)" if len(zero) > 1 else "",
        )


def _places(
    graph: tf.Graph, outputs: Sequence[str], skip_layers: Iterable[str]
) -> list[LayerPlace]:
    view = GraphView(graph)
    check_not_exported(view)
    plan = plan_graph(graph, view=view)
    wanted = _wanted(plan, skip_layers)
    for skip in plan.skips:
        logger.info('layer "%s" (%s) stays float: %s', skip.name, skip.op_type, skip.reason)
    if not wanted:
        raise NoLayersError(_nothing_left(plan))
    places = find_layers(view, wanted, outputs)
    for place in places:
        if place.trained or place.activation is not place.op.inputs[place.layer.activation_port]:
            raise RecordError(
                f'layer "{place.layer.name}" was trained with fake quantisers: export the model '
                "with the record that its training wrote"
            )
    return places


def _wanted(plan: Plan, skip_layers: Iterable[str]) -> list[Layer]:
    if isinstance(skip_layers, str):
        raise ConfigError(f"skip_layers ({brief_repr(skip_layers)}) must be a list of layer names")
    patterns = tuple(skip_layers)
    rows = [row.name for row in plan.rows]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in rows):
            raise UnknownNameError(
                f'skip_layers: no layer is called "{pattern}"{closest(pattern, rows)}'
            )
    return [
        layer
        for layer in plan.layers
        if not any(fnmatchcase(layer.name, pattern) for pattern in patterns)
    ]


def _nothing_left(plan: Plan) -> str:
    if plan.layers:
        return f"all {len(plan.layers)} layers of the model are skipped, so nothing is quantised"
    reason = ""
    if plan.skips:
        first = plan.skips[0]
        reason = f': {len(plan.skips)} skipped, such as "{first.name}" ({first.reason})'
    return f"the model has no layer that can be quantised{reason}"


def _constants(graph: tf.Graph, places: Sequence[LayerPlace]) -> dict[str, npt.NDArray[Any]]:
    tensors = {tensor.name: tensor for place in places for tensor in needed_tensors(place)}
    return dict(zip(tensors, evaluate_constants(graph, list(tensors.values())), strict=True))


def _range(estimate: RangeEstimator, values: Float32Array) -> tuple[float, int]:
    """Scale and offset of an activation with these values."""
    params = affine_params(*estimate(values, INT8), INT8)
    return float(params.scale), int(params.offset)
