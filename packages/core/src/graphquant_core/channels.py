"""Channels of a tensor: the row-major product of one or more of its axes.

A Conv2D weight ``[kh, kw, in, out]`` has the channel axes ``(3,)``, a depthwise weight
``[kh, kw, C, multiplier]`` has ``(2, 3)``; ``()`` makes the whole tensor one channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import RangeError

Scalar = TypeVar("Scalar", bound=np.generic)


def channel_count(shape: Sequence[int], axes: Sequence[int]) -> int:
    """Product of the sizes along `axes`; 1 for no axes.

    Raises:
        RangeError: `axes` are not increasing axes of `shape`.
    """
    check_axes(axes, len(shape))
    return math.prod(shape[axis] for axis in axes)


def per_channel_shape(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """`shape` with 1 outside `axes`: what a vector ``[C]`` is reshaped to before it broadcasts.

    >>> per_channel_shape((3, 3, 16, 2), (2, 3))
    (1, 1, 16, 2)

    Raises:
        RangeError: `axes` are not increasing axes of `shape`.
    """
    check_axes(axes, len(shape))
    return tuple(size if axis in axes else 1 for axis, size in enumerate(shape))


def channel_matrix(values: npt.NDArray[Scalar], axes: Sequence[int]) -> npt.NDArray[Scalar]:
    """`values` as ``[rest, C]``: one column per channel, in the row-major order of `axes`.

    Raises:
        RangeError: `axes` are not increasing axes of `values`.
    """
    channels = channel_count(values.shape, axes)
    rest = [axis for axis in range(values.ndim) if axis not in axes]
    rows = math.prod(values.shape[axis] for axis in rest)
    return values.transpose([*rest, *axes]).reshape(rows, channels)


def check_axes(axes: Sequence[int], rank: int | None = None) -> None:
    """Refuses axes that are negative, repeated, out of order or beyond `rank`.

    Raises:
        RangeError: names the axes and what is allowed.
    """
    increasing = all(left < right for left, right in pairwise(axes))
    inside = all(axis >= 0 and (rank is None or axis < rank) for axis in axes)
    if not (increasing and inside):
        below = "" if rank is None else f" below {rank}"
        raise RangeError(f"axes ({tuple(axes)}) must be increasing axes from 0{below}")
