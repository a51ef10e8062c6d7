"""From the values at a layer's place and its factors to the layer's integers."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.channels import channel_matrix
from graphquant_core.finite import check_finite
from graphquant_core.graph import Step
from graphquant_core.graph.frozen import evaluate_constants
from graphquant_core.graph.frozen.fold_batch_norm import Fold, Values, folds, parameters
from graphquant_core.graph.rewire import WEIGHT_INPUT, marked_input
from graphquant_core.quantize import FLOAT32_EPSILON
from graphquant_core.record import LayerFactors
from graphquant_core.weak_channels import weak_channels
from graphquant_export.quantized import integers
from graphquant_export.quantized.find_layers import LayerPlace


@attrs.frozen(eq=False)
class LayerIntegers:
    """What a quantised layer computes with.

    Attributes:
        steps: Steps behind the layer that `weight` and `bias` hold.
        weight: int8 codes in the shape of the weight, ``None`` without weight.
        bias: int32 ``[C]``, ``None`` when no step adds anything.
        scale: float32 ``[1]`` or ``[C]``: what a sum is multiplied by in the end.
        weak: Sentences on channels that compute nothing, because all their codes are zero.
    """

    steps: tuple[Step, ...]
    weight: npt.NDArray[np.int8] | None
    bias: npt.NDArray[np.int32] | None
    scale: integers.Float32Array
    weak: tuple[str, ...] = ()


def needed_tensors(place: LayerPlace) -> list[tf.Tensor]:
    """The constant tensors whose values `layer_integers` takes."""
    weights = [] if place.weight is None else [place.weight, _float_weight(place, place.weight)]
    return [*weights, *parameters(place.tail)]


def constant_values(
    graph: tf.Graph,
    places: Sequence[LayerPlace],
    graph_def: tf.compat.v1.GraphDef | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Value of each of `needed_tensors` of all `places` in `graph`, by tensor name.

    `graph_def` is the same graph as nodes, where there is one.
    """
    tensors = {tensor.name: tensor for place in places for tensor in needed_tensors(place)}
    values = evaluate_constants(graph, list(tensors.values()), graph_def=graph_def)
    return dict(zip(tensors, values, strict=True))


def _float_weight(place: LayerPlace, weight: tf.Tensor) -> tf.Tensor:
    """`weight` before its fake quantiser, unless somebody removed what marks that."""
    if place.trained:
        with contextlib.suppress(ValueError):
            return marked_input(weight, WEIGHT_INPUT)
    return weight


def layer_integers(place: LayerPlace, factors: LayerFactors, values: Values) -> LayerIntegers:
    """The integers of the layer at `place`.

    The longest start of the tail is folded that the record was written for: a trained weight
    lies on the grid of the record only with its factor. So a layer whose batch norm could not be
    folded when the record was written, because something else took its input too, stays right.

    Args:
        place: The layer.
        factors: Its entry in the record.
        values: Value of each of `needed_tensors`, by tensor name.

    Raises:
        RecordError: A trained weight lies on no grid that the record can mean.
        BiasOverflowError: A bias doesn't fit into int32.
        NonFiniteError: A weight or a folded factor is NaN or infinite.
    """
    scale = integers.dequantization_scale(factors.scale_d, factors.scale_w)
    if place.weight is None or factors.scale_w is None:
        return LayerIntegers((), None, None, scale)
    layer = place.layer
    weight = values[place.weight.name]
    check_finite(weight, f'the weight of layer "{layer.name}"')
    candidates = folds(place.tail, values, layer.output_channels or 0)
    if factors.skip_fusion:
        candidates = [fold for fold in candidates if not fold.scales]
    fold, steps = _matching(place, weight, factors.scale_w, candidates)
    bias = None
    if fold.shifts or factors.bias_correction is not None:
        bias = integers.bias_codes(layer.name, _corrected(fold.bias, factors), scale)
    codes = integers.weight_codes(steps)
    floats = values[_float_weight(place, place.weight).name]
    weak = _weak_channels(floats, codes, layer.weight_channel_axes)
    return LayerIntegers(fold.steps, codes, bias, scale, weak)


def _corrected(bias: integers.Float64Array, factors: LayerFactors) -> integers.Float64Array:
    correction = factors.bias_correction
    return bias if correction is None else bias + correction.astype(np.float64)


def _weak_channels(
    weight: npt.NDArray[np.float32], codes: npt.NDArray[np.int8], axes: Sequence[int]
) -> tuple[str, ...]:
    """What there is to say of channels whose codes are all zero."""
    dead = np.all(channel_matrix(weight, axes) == 0, axis=0)
    tiny = ~dead & np.all(channel_matrix(codes, axes) == 0, axis=0)
    fate = f"their codes are all 0; a scale below {float(FLOAT32_EPSILON):.3g} is recorded as 1"
    return tuple(weak_channels(dead, tiny, fate))


def _matching(
    place: LayerPlace,
    weight: npt.NDArray[np.float32],
    scale_w: integers.Float32Array,
    candidates: list[Fold],
) -> tuple[Fold, integers.Float64Array]:
    axes = place.layer.weight_channel_axes
    distances: list[float] = []
    for fold in reversed(candidates):
        steps = integers.weight_steps(weight, fold.factor, scale_w, axes)
        distances.append(integers.distance_from_grid(steps))
        if not place.trained or distances[-1] <= integers.ON_GRID:
            return fold, steps
    raise integers.off_grid_error(
        place.layer.name,
        distances[0],
        one_scale=len(scale_w) == 1,
        factors_differ=bool(np.ptp(candidates[-1].factor) > 0),
    )
