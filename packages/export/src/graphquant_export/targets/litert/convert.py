"""Runs TensorFlow's own converter, in silence."""

from __future__ import annotations

import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph.frozen import import_frozen
from graphquant_export.targets.litert.captured import captured_output
from graphquant_export.targets.litert.conversion_graph import ConversionGraph

_LONGEST_REASON = 600


def convert(prepared: ConversionGraph) -> bytes:
    """A float .tflite file with a pair of QUANTIZE and DEQUANTIZE for each fake quantiser.

    What the converter prints is logged. It writes no file.

    Raises:
        ModelFileError: The converter can't convert the model; holds its reason.
    """
    graph = import_frozen(prepared.graph_def)
    inputs, outputs = (
        [graph.get_tensor_by_name(f"{name}:0") for name in names]
        for names in (prepared.inputs, prepared.outputs)
    )
    try:
        with captured_output():
            converter = tf.compat.v1.lite.TFLiteConverter(prepared.graph_def, inputs, outputs)
            return bytes(converter.convert())
    except (ConverterError, ValueError, RuntimeError, tf.errors.OpError) as error:
        reason = _named(str(error).strip()[:_LONGEST_REASON], prepared)
        raise ModelFileError(
            f"TensorFlow's converter cannot convert the model to .tflite: {reason}"
        ) from error


def _named(reason: str, prepared: ConversionGraph) -> str:
    """`reason` with the names that the user knows."""
    for opaque, name in prepared.names.items():
        reason = reason.replace(f'"{opaque}"', f'"{name}"')
    return reason
