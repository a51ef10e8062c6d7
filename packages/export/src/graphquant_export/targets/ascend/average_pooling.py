"""Average poolings that Ascend's compiler rolls back to float."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.handler import text_attribute

LARGEST_STRIDE = 63
LARGEST_AREA = 255
SIDE_LIMIT = 20


def height_and_width(op: tf.Operation, attribute: str) -> tuple[int, int]:
    """The two sizes of ``ksize`` or ``strides`` that belong to the image."""
    sizes = list(op.get_attr(attribute))
    height, width = sizes[2:] if text_attribute(op, "data_format") == "NCHW" else sizes[1:3]
    return int(height), int(width)


def float_fallback(op: tf.Operation) -> str | None:
    """Why the compiler computes the AvgPool `op` in float, or ``None`` when nothing says so.

    Source: the quantisation passes of Ascend's graph engine.
    """
    height, width = height_and_width(op, "ksize")
    if height * width > LARGEST_AREA and not (height < SIDE_LIMIT and width < SIDE_LIMIT):
        return (
            f"its kernel ({height} x {width}) has more than {LARGEST_AREA} values and a side of "
            f"{SIDE_LIMIT} or more"
        )
    strides = height_and_width(op, "strides")
    if max(strides) > LARGEST_STRIDE:
        return f"its strides ({strides[0]}, {strides[1]}) exceed {LARGEST_STRIDE}"
    shape = op.outputs[0].shape
    axis = 3 if text_attribute(op, "data_format") == "NCHW" else 2
    if shape.rank == 4 and shape[axis] == 1:
        return "its result has the width 1"
    return None
