"""Fake quantisers in a frozen graph, and which of them a layer takes."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import BitsError, NonFiniteError, RangeError, UncalibratedError
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import evaluate_constants
from graphquant_qat.fake_quant.ranges import Float32Array, nudged_grid

BITS = 8
PER_CHANNEL = "FakeQuantWithMinMaxVarsPerChannel"
FAKE_QUANT_TYPES = frozenset({"FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", PER_CHANNEL})

# Ops whose output values are input values or 0.0, with the input that holds them.
MOVING_WEIGHTS = {
    "ExpandDims": 0,
    "Identity": 0,
    "Reshape": 0,
    "Snapshot": 0,
    "Squeeze": 0,
    "StopGradient": 0,
    "Transpose": 0,
}
MOVING_ACTIVATIONS = MOVING_WEIGHTS | {
    "MaxPool": 0,
    "Pad": 0,
    "SpaceToBatchND": 0,
    "Split": 1,
    "SplitV": 0,
}


@attrs.frozen(eq=False)
class FakeQuant:
    """A fake quantiser with its range.

    Attributes:
        op: Its op.
        bits: Bits of a code.
        narrow: Whether code 0 is left out.
        minimum: Lower end of the range, ``[]`` or ``[C]`` for the last axis.
        maximum: Upper end.
    """

    op: tf.Operation
    bits: int
    narrow: bool
    minimum: Float32Array
    maximum: Float32Array

    @property
    def grid(self) -> tuple[Float32Array, npt.NDArray[np.int32]]:
        """(scale, zero) as `nudged_grid` has them."""
        return nudged_grid(self.minimum, self.maximum, self.bits, self.narrow)

    @property
    def activation_factors(self) -> tuple[float, int]:
        """(scale_d, offset_d) of a fake quantiser that has one range.

        Raises:
            BitsError: It doesn't have 8 bits.
            UncalibratedError: Its range is 0.0 to 0.0.
        """
        self.check_bits(BITS)
        if not self.maximum > self.minimum:
            raise UncalibratedError(
                f"{self.named} has the range 0.0 to 0.0, as before any training or calibration"
            )
        scale, zero = self.grid
        return float(scale), int(zero) - 2 ** (BITS - 1)

    @property
    def named(self) -> str:
        """Its name and type, as messages have them."""
        return f'fake quantiser "{self.op.name}" ({self.op.type})'

    def check_bits(self, smallest: int) -> None:
        """Returns when it has `smallest` to 8 bits.

        Raises:
            BitsError: names it and its bits.
        """
        if not smallest <= self.bits <= BITS:
            allowed = f"{BITS}" if smallest == BITS else f"{smallest} to {BITS}"
            raise BitsError(
                f"{self.named}: num_bits ({self.bits}) must be {allowed} for Ascend's int8"
            )


def fake_quant_behind(tensor: tf.Tensor, moving: dict[str, int]) -> tf.Operation | None:
    """The fake quantiser whose values `tensor` holds, behind `moving` ops; ``None`` without."""
    while tensor.op.type in moving:
        tensor = tensor.op.inputs[moving[tensor.op.type]]
    return tensor.op if tensor.op.type in FAKE_QUANT_TYPES else None


def has_fixed_range(view: GraphView, op: tf.Operation) -> bool:
    """Whether the range of the fake quantiser `op` doesn't depend on what is fed."""
    return not any(view.depends_on_data(tensor) for tensor in list(op.inputs)[1:])


def read_fake_quants(ops: list[tf.Operation]) -> dict[tf.Operation, FakeQuant]:
    """Each of `ops`, fake quantisers of a frozen graph with fixed ranges, with its range.

    Raises:
        RangeError: A lower end is above its upper end, or a range has one value, which isn't 0.0.
        NonFiniteError: An end is NaN or infinite.
    """
    if not ops:
        return {}
    tensors = [tensor for op in ops for tensor in list(op.inputs)[1:]]
    names = [tensor.name for tensor in tensors]
    values = dict(zip(names, evaluate_constants(ops[0].graph, tensors), strict=True))
    return {op: _read(op, values) for op in ops}


def _read(op: tf.Operation, values: dict[str, npt.NDArray[np.float32]]) -> FakeQuant:
    if op.type == "FakeQuantWithMinMaxArgs":
        ends = [op.get_attr(name) for name in ("min", "max")]
    else:
        ends = [values[tensor.name] for tensor in list(op.inputs)[1:]]
    low, high = (np.asarray(end, np.float32) for end in ends)
    found = FakeQuant(op, op.get_attr("num_bits"), op.get_attr("narrow_range"), low, high)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise NonFiniteError(f"{found.named}: an end of its range is NaN or infinite")
    wrong = (low > high) | ((low == high) & (low != 0))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise RangeError(
            f"{found.named}: min ({low.flat[first]}) must be below max ({high.flat[first]})"
        )
    return found
