"""Ops that compute each element by itself: in NHWC as soon as one operand is."""

from __future__ import annotations

import tensorflow as tf

from graphquant_export.layout.region import RANK, Region, turned


def _turn(region: Region, op: tf.Operation) -> bool:
    if not any(region.has(x) for x in op.inputs):
        return False
    taken = [_operand(region, x) for x in op.inputs]
    if any(x is None for x in taken):
        return False
    for port, name in enumerate(taken):
        region.editor.set_input(op.name, port, str(name))
    region.add(op.outputs[0], op.name)
    return True


def _operand(region: Region, tensor: tf.Tensor) -> str | None:
    """`tensor` as it is broadcast to NHWC; ``None`` when that isn't known."""
    if region.has(tensor):
        return region.nhwc(tensor)
    if tensor.shape.rank == 0:
        return region.nchw(tensor)
    value = region.value(tensor)
    if value is not None:
        return region.constant(tensor.op.name, turned(value))
    return region.nhwc(tensor) if tensor.shape.rank == RANK else None


def _turn_first(region: Region, op: tf.Operation) -> bool:
    """With operands behind the first one that are no such elements."""
    if not region.has(op.inputs[0]):
        return False
    region.editor.set_input(op.name, 0, region.nhwc(op.inputs[0]))
    region.add(op.outputs[0], op.name)
    return True


ELEMENTWISE = {
    **dict.fromkeys(
        (
            *("Abs", "Cast", "Ceil", "Elu", "Erf", "Erfc", "Exp", "Expm1", "Floor", "Identity"),
            *("LeakyRelu", "Log", "Log1p", "Neg", "Reciprocal", "Relu", "Relu6", "Round", "Rsqrt"),
            *("Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Square", "StopGradient"),
            *("Tanh", "Add", "AddN", "AddV2", "DivNoNan", "Maximum", "Minimum", "Mul", "Pow"),
            *("RealDiv", "SquaredDifference", "Sub"),
        ),
        _turn,
    ),
    **dict.fromkeys(
        ("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "ClipByValue"), _turn_first
    ),
}
