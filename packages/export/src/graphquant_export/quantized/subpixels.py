"""A transposed convolution as a convolution to more channels, which are spread over the image.

With stride s, y[i] = sum of x[j] * w[i + p - s * j] over j. In blocks of b = m * s values,
i + p = b * u + r, each remainder r is a channel of its own of a convolution with stride m over x,
whose weight at the distance d = j - m * u is w[r - s * d].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt


@attrs.frozen
class Axis:
    """One axis of the image.

    Attributes:
        size: Size of what the transposed convolution takes.
        result: Size of what it returns.
        kernel: Size of its weight.
        stride: Its stride.
        block: Values of the result for each step of the convolution, a multiple of `stride`.
        crop: Values in front of the result, p in the formula: what SAME cuts off.
    """

    size: int
    result: int
    kernel: int
    stride: int
    block: int
    crop: int

    @property
    def step(self) -> int:
        """Stride of the convolution."""
        return self.block // self.stride

    @property
    def before(self) -> int:
        """Zeros in front of what it takes: its weight begins at the distance -before."""
        return (self.kernel - 1) // self.stride

    @property
    def length(self) -> int:
        """Size of its weight."""
        return self.before + self.step

    @property
    def count(self) -> int:
        """Size of what it returns."""
        return -(-(self.result + self.crop) // self.block)

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros in front of what it takes, and behind."""
        needed = (self.count - 1) * self.step + self.length
        return self.before, max(needed - self.before - self.size, 0)

    @property
    def is_whole(self) -> bool:
        """Whether the blocks are the result, of which nothing is cut off."""
        return self.crop == 0 and self.count * self.block == self.result

    def taps(self) -> npt.NDArray[np.int64]:
        """``[block, length]``: index in the weight, -1 where the convolution has a zero."""
        remainders = np.arange(self.block)[:, None]
        distances = np.arange(self.length)[None] - self.before
        index = remainders - self.stride * distances
        return np.where((index >= 0) & (index < self.kernel), index, -1)


def same_crop(size: int, result: int, kernel: int, stride: int) -> int:
    """What padding SAME cuts off in front: half of it all, rounded down."""
    return max((size - 1) * stride + kernel - result, 0) // 2


def common_block(strides: Sequence[int]) -> int:
    """Block size for both axes: DEPTH_TO_SPACE knows only one."""
    return math.lcm(*strides)


def subpixel_weight(
    weight: npt.NDArray[np.int8], height: Axis, width: Axis
) -> npt.NDArray[np.int8]:
    """``[C, kernel, kernel, I]`` -> ``[block * block * C, length, length, I]``.

    The result's first axis has the order that DEPTH_TO_SPACE takes: row and column in the block,
    then channel.
    """
    rows, columns = height.taps(), width.taps()
    taken = weight[:, rows[:, None, :, None], columns[None, :, None, :]]
    inside = (rows >= 0)[:, None, :, None] & (columns >= 0)[None, :, None, :]
    taken = np.where(inside[None, ..., None], taken, 0).transpose(1, 2, 0, 3, 4, 5)
    return np.ascontiguousarray(taken.reshape(-1, height.length, width.length, weight.shape[-1]))
