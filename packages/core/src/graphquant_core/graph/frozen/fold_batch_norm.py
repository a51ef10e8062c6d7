"""Fold what follows a layer into y = x * factor + bias per channel, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import NonFiniteError
from graphquant_core.graph import BatchNorm, PassThrough, Scale, Shift, Step

Float64Array = npt.NDArray[np.float64]
Values = Mapping[str, npt.NDArray[Any]]


@attrs.frozen(eq=False)
class Fold:
    """y = x * factor + bias: what the first steps of a tail do to the output of a layer.

    Attributes:
        steps: Those steps.
        factor: float64 ``[C]``.
        bias: float64 ``[C]``.
        scales: Whether a step multiplies.
        shifts: Whether a step adds.
    """

    steps: tuple[Step, ...]
    factor: Float64Array
    bias: Float64Array
    scales: bool = False
    shifts: bool = False


def parameters(steps: Sequence[Step]) -> list[tf.Tensor]:
    """The tensors whose values `fold` needs."""
    tensors: list[tf.Tensor] = []
    for step in steps:
        if isinstance(step, BatchNorm):
            tensors += [step.gamma, step.beta, step.mean, step.variance]
        elif isinstance(step, (Shift, Scale)):
            tensors.append(step.value)
    return tensors


def folds(steps: Sequence[Step], values: Values, channels: int) -> list[Fold]:
    """One fold for each start of `steps` that doesn't end in a PassThrough, the shortest first.

    Args:
        steps: Affine tail of a layer.
        values: Value of each tensor that `parameters` lists, by tensor name.
        channels: Output channels of the layer, C.

    Raises:
        NonFiniteError: A factor or a bias is NaN or infinite; names the op.
    """
    fold = Fold((), np.ones(channels), np.zeros(channels))
    found = [fold]
    for step in steps:
        fold = _extend(fold, step, values)
        if not isinstance(step, PassThrough):
            found.append(fold)
    return found


def batch_norm_factors(
    gamma: npt.ArrayLike,
    beta: npt.ArrayLike,
    mean: npt.ArrayLike,
    variance: npt.ArrayLike,
    epsilon: float,
) -> tuple[Float64Array, Float64Array]:
    """(factor, bias) = (gamma / sqrt(variance + epsilon), beta - mean * factor), float64.

    Source: the kernel of TensorFlow's FusedBatchNorm with is_training=False.
    """
    with np.errstate(all="ignore"):
        factor = _float64(gamma) / np.sqrt(_float64(variance) + epsilon)
        return factor, _float64(beta) - _float64(mean) * factor


def _extend(fold: Fold, step: Step, values: Values) -> Fold:
    steps = (*fold.steps, step)
    if isinstance(step, PassThrough):
        return attrs.evolve(fold, steps=steps)
    if isinstance(step, BatchNorm):
        factor, bias = batch_norm_factors(
            values[step.gamma.name],
            values[step.beta.name],
            values[step.mean.name],
            values[step.variance.name],
            step.epsilon,
        )
        scales, shifts = True, True
    elif isinstance(step, Scale):
        factor, bias = _vector(values[step.value.name]), np.zeros(1)
        scales, shifts = True, fold.shifts
    else:
        factor, bias = np.ones(1), step.sign * _vector(values[step.value.name])
        scales, shifts = fold.scales, True
    with np.errstate(all="ignore"):
        result = Fold(steps, fold.factor * factor, fold.bias * factor + bias, scales, shifts)
    if not (np.isfinite(result.factor).all() and np.isfinite(result.bias).all()):
        raise NonFiniteError(
            f'"{step.op.name}" ({step.op.type}) cannot be folded: its factor gamma / '
            "sqrt(variance + epsilon) or its bias is NaN or infinite"
        )
    return result


def _vector(value: npt.NDArray[Any]) -> Float64Array:
    return _float64(value).reshape(-1)


def _float64(value: npt.ArrayLike) -> Float64Array:
    return np.asarray(value, dtype=np.float64)
