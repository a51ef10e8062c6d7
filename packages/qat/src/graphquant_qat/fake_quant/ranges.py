"""The grid of TensorFlow's FakeQuant kernels, and int8 scales for what lies on such a grid."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.channels import channel_matrix
from graphquant_core.quantize import FLOAT32_EPSILON

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]


def nudged_grid(
    minimum: npt.ArrayLike, maximum: npt.ArrayLike, bits: int, narrow: bool
) -> tuple[Float32Array, npt.NDArray[np.int32]]:
    """scale = (max - min) / levels, zero = clip(round(first - min / scale), first, 2^bits - 1).

    `first` is 1 for a narrow range, else 0, and levels = 2^bits - 1 - first. A fake-quantised
    value is (code - zero) * scale. A range from 0.0 to 0.0, whose only value is 0.0, gets scale
    1.0 and the zero `first`.

    Args:
        minimum: Lower ends, ``[]`` or ``[C]``, not above `maximum`.
        maximum: Upper ends.
        bits: Bits of a code.
        narrow: Whether code 0 is left out.

    Source: ``Nudge`` of TensorFlow's fake_quant_ops_functor.h. A range that doesn't hold 0.0 is
        shifted there until it does, not widened.
    """
    low, high = np.asarray(minimum, np.float32), np.asarray(maximum, np.float32)
    first, last = int(narrow), 2**bits - 1
    scale = (high - low) / np.float32(last - first)
    scale = np.where(scale > 0, scale, np.float32(1))
    exact = (np.float32(first) - low / scale).astype(np.float64)
    zero = np.clip(np.floor(exact + 0.5), first, last)  # ties upwards, as StdRound has them
    return scale, np.asarray(zero, np.int32)


@attrs.frozen(eq=False)
class Int8Weight:
    """int8 scales for a fake-quantised weight.

    Attributes:
        scale: float32 ``[1]`` or ``[C]``: scale of the weight times its factor.
        difference: Largest difference between a weight and what its code stands for, in steps of
            the fake quantiser; 0.0 where the codes express every weight.
    """

    scale: Float32Array
    difference: float


def int8_weight(
    weight: npt.NDArray[np.float32],
    steps: npt.NDArray[np.float32],
    factor: Float64Array,
    axes: Sequence[int],
) -> Int8Weight:
    """The scale of each channel: that of the fake quantiser, or max|w| / 127 where it can't be.

    It can when weight * sign(factor) / steps are integers from -128 to 127, as Ascend has no
    offset for weights.

    Args:
        weight: Fake-quantised weight.
        steps: Scale of the fake quantiser for each value of `weight`, in its shape.
        factor: float64 ``[C]``: what is folded into the weight.
        axes: Axes of `weight` whose row-major product is C.
    """
    values = channel_matrix(weight, axes).astype(np.float64)
    sizes = channel_matrix(steps, axes).astype(np.float64)
    codes = np.where(factor < 0, -1, 1) * np.rint(values / sizes)
    expressed = (codes >= -128).all(axis=0) & (codes <= 127).all(axis=0)
    expressed &= (sizes == sizes[:1]).all(axis=0)
    largest = np.abs(values).max(axis=0)
    scale = np.where(expressed, sizes[0], np.where(largest > 0, largest / 127, 1.0))
    difference = np.abs(np.rint(values / scale) * scale - values) / sizes
    folded = scale * np.abs(factor)
    folded = np.where(folded < FLOAT32_EPSILON, 1.0, folded).astype(np.float32)
    if (folded == folded[0]).all():
        folded = folded[:1]
    return Int8Weight(folded, float(np.max(difference[:, ~expressed], initial=0.0)))
