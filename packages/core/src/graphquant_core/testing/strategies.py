"""What a quantiser has to cope with: grids, scales, tensors, weights and ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hypothesis.extra.numpy as npst
import numpy as np
from hypothesis import strategies as st

from graphquant_core.channels import channel_count, per_channel_shape
from graphquant_core.grid import MAX_BITS, MIN_BITS, Grid
from graphquant_core.quant_params import Float32Array, QuantParams

LARGEST = 2.0**10
"""Largest magnitude of a drawn value."""


def grids(
    min_bits: int = MIN_BITS, max_bits: int = MAX_BITS, narrow: bool | None = None
) -> st.SearchStrategy[Grid]:
    """Grids of `min_bits` to `max_bits` bits, narrow, full or (None) both."""
    ends = st.booleans() if narrow is None else st.just(narrow)
    return st.builds(Grid, st.integers(min_bits, max_bits), narrow=ends)


def scales() -> st.SearchStrategy[float]:
    """Scales from 2^-20 to 2^10, exact in float32."""
    return st.floats(2.0**-20, 2.0**10, width=32)


@st.composite
def quant_params(
    draw: st.DrawFn,
    grid: st.SearchStrategy[Grid] | None = None,
    shape: Sequence[int] = (),
    axes: Sequence[int] = (),
    symmetric: bool | None = None,
) -> QuantParams:
    """Scales and offsets for a tensor of `shape` with channels along `axes`.

    Offsets are anywhere in the grid, or 0 when `symmetric` (None draws that too).
    """
    integers = draw(grids() if grid is None else grid)
    count = (channel_count(shape, axes),) if axes else ()
    no_offset = draw(st.booleans()) if symmetric is None else symmetric
    low, high = (0, 0) if no_offset else (integers.minimum, integers.maximum)
    scale = draw(npst.arrays(np.float32, count, elements=scales()))
    offset = draw(npst.arrays(np.int32, count, elements=st.integers(low, high)))
    return QuantParams(scale, offset, integers, tuple(axes))


def tensors(
    shape: Sequence[int] | st.SearchStrategy[tuple[int, ...]] | None = None,
    largest: float = LARGEST,
) -> st.SearchStrategy[Float32Array]:
    """Finite float32 arrays with values up to ±`largest`, zeros and tiny values included."""
    if shape is None:
        shape = npst.array_shapes(max_dims=4, max_side=5)
    elif not isinstance(shape, st.SearchStrategy):
        shape = tuple(shape)
    elements: Any = st.floats(-largest, largest, width=32)
    return npst.arrays(np.float32, shape, elements=elements)


def weight_layouts() -> st.SearchStrategy[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(shape, channel axes) of small MatMul, Conv2D, transposed and depthwise weights."""
    size = st.integers(1, 4)
    conv = st.tuples(size, size, size, size)
    return st.one_of(
        st.tuples(st.tuples(size, size), st.sampled_from([(), (1,)])),
        st.tuples(conv, st.sampled_from([(), (3,), (2,), (2, 3)])),
    )


@st.composite
def weights(
    draw: st.DrawFn, shape: Sequence[int], axes: Sequence[int], dead_channels: bool = True
) -> Float32Array:
    """Weights of `shape` whose channels along `axes` differ in size, some of them all zero.

    Every other channel holds a value of magnitude at least 2^-8: alive at up to 16 bits.
    """
    values = draw(tensors(shape, largest=1.0))
    count = channel_count(shape, axes)
    sizes: Any = st.floats(2.0**-3, 2.0**5, width=32)
    if dead_channels:
        sizes = st.one_of(st.just(0.0), sizes)
    size = draw(npst.arrays(np.float32, (count,), elements=sizes))
    target = per_channel_shape(shape, axes)
    rest = tuple(axis for axis in range(len(shape)) if axis not in axes)
    largest = np.abs(values).max(axis=rest, keepdims=True)
    lively = np.where(largest < 2.0**-5, np.float32(1), values)
    return np.asarray(lively * size.reshape(target), dtype=np.float32)


@st.composite
def activation_ranges(draw: st.DrawFn) -> tuple[np.float32, np.float32]:
    """(minimum, maximum), minimum <= 0 <= maximum, at least 2^-6 apart: alive at 16 bits."""
    ends = st.floats(2.0**-6, LARGEST, width=32)
    low, high = draw(ends), draw(ends)
    kind = draw(st.sampled_from(["both", "positive", "negative"]))
    return (
        np.float32(0 if kind == "positive" else -low),
        np.float32(0 if kind == "negative" else high),
    )
