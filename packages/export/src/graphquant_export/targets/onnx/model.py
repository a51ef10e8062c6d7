"""One whole ONNX model: converted, its integers put in, named, checked and as bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version

import onnx
import tensorflow as tf
from onnx import version_converter

from graphquant_core.arguments import as_integer
from graphquant_core.exceptions import ConfigError, GraphQuantError, ModelFileError
from graphquant_core.listing import brief_repr
from graphquant_export.targets.onnx.bias_inputs import merge_biases
from graphquant_export.targets.onnx.canonical import canonicalize
from graphquant_export.targets.onnx.constants import StoredConstant, Tags
from graphquant_export.targets.onnx.conversion import HIGHEST_CONVERTED_OPSET, Quantizer, convert
from graphquant_export.targets.onnx.integers import name_layers, store_integers

LOWEST_OPSET = 13
"""The first one whose DequantizeLinear has an axis."""


def checked_opset(opset: object) -> int:
    """`opset` as an int, one that can be written.

    Raises:
        ConfigError: names it and what is allowed.
    """
    highest = onnx.defs.onnx_opset_version()
    number = as_integer(opset)
    if number is None or not LOWEST_OPSET <= number <= highest:
        raise ConfigError(
            f"opset ({brief_repr(opset)}) must be an integer from {LOWEST_OPSET}, the first with "
            f"scales per channel, to {highest}, the last that onnx {onnx.__version__} knows"
        )
    return number


def quantized_model(
    graph_def: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    constants: Sequence[StoredConstant],
    opset: int,
    *,
    quantizers: Mapping[str, Quantizer],
    without_weight: Mapping[str, str],
) -> bytes:
    """The ONNX model of `graph_def`, checked, as the bytes of its file.

    Args:
        graph_def: A float graph with fake quantisers.
        outputs: Names of the ops that are its outputs.
        constants: Its constants that are stored as integers.
        opset: Opset of the model.
        quantizers: What each of its fake quantisers becomes, by name.
        without_weight: Name of each layer without weight, by the name of its node.

    Raises:
        UnsupportedLayerError: ONNX has no op for a layer, or tf2onnx doesn't convert it.
        ModelFileError: The graph can't be converted, or the model is not valid.
    """
    tags = Tags(constants)
    converted = convert(graph_def, outputs, tags, quantizers, min(opset, HIGHEST_CONVERTED_OPSET))
    try:
        model = _at_opset(converted.model, opset)
        layers = store_integers(model, converted.weights, tags)
        layers |= name_layers(model, dict(without_weight))
        merge_biases(model)
        canonicalize(model, layers)
        _describe(model)
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)
    except GraphQuantError:
        raise
    except (
        RuntimeError,
        ValueError,
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
    ) as error:
        raise ModelFileError(f"the model is not valid in opset {opset}: {error}") from error


def _at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    if opset <= HIGHEST_CONVERTED_OPSET:
        return model
    return version_converter.convert_version(model, opset)


def _describe(model: onnx.ModelProto) -> None:
    """Says what made the model, and leaves out opsets that no node is of."""
    model.producer_name = "graphquant-export"
    model.producer_version = version("graphquant-export")
    model.graph.name = "graphquant"
    model.graph.doc_string = ""
    domains = {node.domain for node in model.graph.node} | {""}
    kept = [entry for entry in model.opset_import if entry.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    onnx.helper.set_model_props(model, {"converter": f"tf2onnx {version('tf2onnx')}"})
