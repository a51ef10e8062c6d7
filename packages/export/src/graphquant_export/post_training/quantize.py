"""Post-training quantisation: from a float model and a few inputs to a record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.calibration import RangeEstimator
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import (
    GraphDefEditor,
    check_outputs,
    import_frozen,
)
from graphquant_core.grid import INT8
from graphquant_core.quantize import affine_params
from graphquant_core.quiet import nothing_said
from graphquant_core.record import LayerFactors, Record
from graphquant_export.post_training.bias_correction import with_corrected_biases
from graphquant_export.post_training.equalize import (
    BATCH_SIZE,
    Balances,
    find_balances,
    unit_scales_of,
)
from graphquant_export.post_training.estimators import range_estimator
from graphquant_export.post_training.places import quantized_places
from graphquant_export.post_training.samples import Float32Array, sample_values
from graphquant_export.post_training.top_scores import top_scores
from graphquant_export.post_training.weight_scales import weight_scales
from graphquant_export.quantized.complete_record import complete_record
from graphquant_export.quantized.find_layers import (
    find_layers,
)
from graphquant_export.quantized.layer_integers import constant_values
from graphquant_export.quantized.named_rules import rules_by_target
from graphquant_export.quantized.rescale import balanced
from graphquant_export.quantized.simulate import simulate
from graphquant_export.quantized.target_planner import TargetPlanner
from graphquant_export.quantized.value_grids import Range

logger = logging.getLogger(__name__)


def quantize_post_training(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    calibration: Mapping[str, npt.ArrayLike],
    *,
    activation: str | RangeEstimator = "mse",
    skip_layers: Iterable[str] = (),
    target: str | Sequence[str] = "ascend",
    equalize: bool = True,
    correct_bias: bool | None = None,
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
        activation: ``"mse"``, ``"ifmr"`` (AMCT's search), ``"min_max"`` or ``"percentile"``, or a
            function like those of `graphquant_core.calibration`. Whatever it says, the range of
            scores that a softmax or an argmax takes holds the largest one.
        skip_layers: Names or patterns of layers that stay float.
        target: Name of the target that the record is for, or several: the grids of what it rounds
            besides the inputs of layers are estimated, too, so that an export needs no calibration.
            ``"ascend"`` rounds nothing else.
        equalize: Whether channels between layers are brought to one size where that leaves at most
            three quarters of the noise that rounding makes. The record holds by what they are
            divided (`LayerFactors.balance`); the model stays as it is.
        correct_bias: Whether what rounding adds to the mean of an output channel is taken off its
            bias (`LayerFactors.bias_correction`), which is an entry of its own in the record. By
            default unless a target's record holds entries of layers alone, as Ascend's: AMCT's
            own tools refuse others.
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
    units = unit_scales_of(targets)
    names = check_outputs(model, outputs)
    graph_def = GraphDefEditor(model).graph_def(names)
    graph = import_frozen(graph_def)
    places = quantized_places(graph, names, skip_layers)
    balances: Balances = {}
    if equalize:
        balances = find_balances(graph_def, names, places, calibration, batch_size, units)
    if balances:
        graph = import_frozen(balanced(graph_def, names, places, balances))
        places = find_layers(GraphView(graph), [place.layer for place in places], names)
    activations = {place.layer.name: str(place.quantized.name) for place in places}
    values = constant_values(graph, places)
    tensors = list(dict.fromkeys(activations.values()))
    samples = sample_values(graph, tensors, calibration, batch_size, progress)
    _warn_of_zeros(activations, samples)
    ranges = {name: _range(estimate, value) for name, value in samples.items()}
    factors = {}
    for place in places:
        scale_d, offset_d = ranges[activations[place.layer.name]]
        scale_w = None if place.weight is None else weight_scales(place, values, scale_d, units)
        balance = balances.get(place.layer.name)
        factors[place.layer.name] = LayerFactors(
            scale_d, offset_d, scale_w, dst_type="INT8", balance=balance
        )
    record = Record(factors)
    rounds = [rules.rounds for rules in targets.values()]
    if all(rounds) if correct_bias is None else correct_bias:
        record = with_corrected_biases(record, model, names, calibration, batch_size)
    if not any(rounds):
        return record

    def observe(tensors: Sequence[str]) -> dict[str, Range]:
        graph = import_frozen(simulated.graph_def)
        whole = top_scores(graph, tensors)
        found = sample_values(graph, tensors, calibration, batch_size)
        ends: dict[str, Range] = {}
        for name, value in found.items():
            low, high = map(float, estimate(value, INT8))
            ends[name] = (low, max(high, float(value.max())) if name in whole else high)
        return ends

    with nothing_said("graphquant_export"):
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


def _range(estimate: RangeEstimator, values: Float32Array) -> tuple[float, int]:
    """Scale and offset of an activation with these values."""
    params = affine_params(*estimate(values, INT8), INT8)
    return float(params.scale), int(params.offset)
