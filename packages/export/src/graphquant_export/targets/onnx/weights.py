"""Export of weight-only models to ONNX: integers for the weights, floats for everything else."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from graphquant_core.exporter import ExportSource
from graphquant_core.files import write_whole
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import (
    GraphDefEditor,
    check_outputs,
    evaluate_constants,
    import_frozen,
)
from graphquant_core.graph.frozen.node_def import const_node
from graphquant_core.weight_record import WeightRecord
from graphquant_export.quantized.float_weights import warn_of_float_weights
from graphquant_export.quantized.weight_layers import checked_weights, weight_layers, weight_plan
from graphquant_export.targets.onnx.artifact import OnnxArtifact
from graphquant_export.targets.onnx.constants import StoredConstant
from graphquant_export.targets.onnx.dequantize import INT4_OPSET
from graphquant_export.targets.onnx.model import checked_opset, quantized_model
from graphquant_export.targets.onnx.weight_grids import weight_constant
from graphquant_export.targets.save_path import ENDINGS, writable_paths

logger = logging.getLogger(__name__)

DEFAULT_OPSET = 17


def export_onnx_weights(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    record: WeightRecord,
    save_path: str | os.PathLike[str],
    *,
    opset: int | None = None,
) -> OnnxArtifact:
    """Writes ``<save_path>.onnx``: weights as int8 or int4 codes with the scales of their groups.

    A weight of 2 to 4 bits is stored as int4, one of 5 to 8 as int8. A grid with a minimum has
    a zero point where 0.0 is one of its codes, else an Add behind its DequantizeLinear. The
    groups that MNN gives a transposed convolution cross its channels: they are the rows of a
    matrix, which is reshaped. Such a layer with a batch norm behind it keeps a float weight, with
    a warning: what MNN quantises is the product of both.

    Args:
        model: Frozen graph, with its weights on the grids that `record` says.
        outputs: Names of the ops that are the model's outputs.
        record: How each layer is quantised, as `WeightQuantizer.weight_record` returns it.
        save_path: Start of the name of the file.
        opset: Opset of the model, 13 or later. By default 21 when a weight has 4 bits or less or
            blocks, which is the first that knows these, else 17. With an earlier one, 4 bits
            are stored as int8.

    Raises:
        OutputNotFoundError: An output is not in the model.
        RecordError: `record` is something else, or holds nothing.
        UnsupportedLayerError: A layer is not in the model, or tf2onnx can't convert it; names it.
        RangeError: A weight is not on its grid; names the layer.
        ModelFileError: The model is not frozen, or can't be converted.
        ConfigError: `opset` is none that can be written.
        FileWriteError: The file can't be written. After any error an older one is as it was.
    """
    (path,) = writable_paths(save_path, *ENDINGS["onnx"])
    checked_weights(record)
    small = any(grid.bits <= 4 or grid.block_size for grid in record.values())
    opset = (INT4_OPSET if small else DEFAULT_OPSET) if opset is None else opset
    opset = checked_opset(opset)
    names = check_outputs(model, outputs)
    frozen = GraphDefEditor(model).graph_def(names)
    graph_def, constants = _with_own_weights(frozen, record)
    content = quantized_model(graph_def, names, constants, opset, quantizers={}, without_weight={})
    write_whole(path, content)
    logger.info("The model is saved in %s", path)
    return OnnxArtifact(path, opset, ExportSource(model, names, record))


def _with_own_weights(
    frozen: tf.compat.v1.GraphDef, record: WeightRecord
) -> tuple[tf.compat.v1.GraphDef, list[StoredConstant]]:
    """The graph with a Const for the weight of each quantised layer, and what these store."""
    view = GraphView(import_frozen(frozen))
    layers = weight_layers(view, record)
    tensors = [
        view.graph.get_operation_by_name(layer.name).inputs[layer.weight_port or 0]
        for layer in layers
    ]
    editor = GraphDefEditor(frozen)
    constants = []
    folded = []
    for layer, value in zip(layers, evaluate_constants(view.graph, tensors), strict=True):
        weight = np.asarray(value, np.float32)
        name = editor.unique_name(f"{layer.name}/on_grid")
        constant = weight_constant(layer, layers[layer], name, weight)
        if constant is None:
            folded.append(layer.name)
            continue
        editor.set_input(layer.name, layer.weight_port or 0, editor.add(const_node(name, weight)))
        constants.append(constant)
    plan = weight_plan(view.graph, view=view)
    warn_of_float_weights(logger, plan, record, "ONNX", folded)
    return editor.graph_def([node.name for node in frozen.node]), constants
