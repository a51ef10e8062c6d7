"""What a target rounds, declared: the rounding plan is made of these words alone."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from graphquant_core.value_grid import ValueGrid

MOVING_TYPES = frozenset(
    {
        *("BatchToSpaceND", "Concat", "ConcatV2", "DepthToSpace", "ExpandDims", "Gather"),
        *("GatherV2", "Identity", "MaxPool", "MirrorPad", "Pack", "Pad", "Reshape"),
        *("ResizeNearestNeighbor", "Slice", "SpaceToBatchND", "SpaceToDepth", "Split", "SplitV"),
        *("Squeeze", "StopGradient", "StridedSlice", "Transpose", "Unpack"),
    }
)
"""Ops that give the same whether their inputs or their result are put on a grid.

They return values of their inputs, the largest of some, or zeros, which every grid has.
"""

JOINING_TYPES = frozenset({"Concat", "ConcatV2", "Pack"})
"""Moving ops whose several inputs share one grid."""

ACTIVATION_TYPES = frozenset({"Relu", "Relu6"})
"""Functions that a runtime merges with the op in front of them, and rounds once behind both."""


@attrs.frozen
class TargetRules:
    """Which values a target rounds besides what goes into its quantised layers.

    A target whose integer layers return floats rounds nothing else: ``TargetRules()``.

    Attributes:
        results: Types of the layers whose integer form returns integers, so that their result lies
            on a grid of its own.
        rescaling: Types of other ops that compute with integers, each operand and the result on
            grids of their own.
        averaging: Types of ops whose result is rounded onto the grid of what they take.
        fixed: Types of ops whose result always lies on one grid, and that grid.
        moving: Types of ops that hand codes on as they are; of `MOVING_TYPES`.
        summed_zero_points: Types of kernels (`Layer.kernel_type`), of `results`, which add the zero
            point of the result to the integer sum, as a whole number of the sum's steps. What is
            trained for the target is simulated so. A record without any grid of a value that the
            target rounds was made for one that returns floats: with it such a layer computes with
            floats, unless that zero point is 0.
        unit_scales: Types of layers whose weight may have a scale for each output channel, although
            AMCT gives it one (`Layer.one_weight_scale`).
        ties_away: Whether what becomes an integer in front of a layer is scaled, shifted by the
            zero point, and then rounded with ties away from zero. Otherwise it is scaled, rounded
            with ties to even, and then shifted.
        integer_outputs: Whether the outputs of the model are integers. Where they are floats, an op
            whose value no quantised layer takes in the end is computed with floats, too.
        eight_bits_since: Why the weight of a layer with int8 activations has 8 bits and never
            fewer, in a clause; ``""`` for no reason but that the exporter writes no others.
    """

    results: frozenset[str] = frozenset()
    rescaling: frozenset[str] = frozenset()
    averaging: frozenset[str] = frozenset()
    fixed: Mapping[str, ValueGrid] = attrs.field(factory=dict, hash=False)
    moving: frozenset[str] = MOVING_TYPES
    summed_zero_points: frozenset[str] = frozenset()
    unit_scales: frozenset[str] = frozenset()
    ties_away: bool = False
    integer_outputs: bool = False
    eight_bits_since: str = ""

    @property
    def rounds(self) -> bool:
        """Whether anything is rounded that isn't the input of a layer."""
        return bool(self.results)
