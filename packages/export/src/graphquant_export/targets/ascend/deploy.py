"""A quantised model in Ascend's ops: the graph that both files of an export hold."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import attrs
import tensorflow as tf

from graphquant_core.record import Record
from graphquant_export.quantized.emit import EmittedLayer, emit
from graphquant_export.quantized.layer import QuantizedLayer
from graphquant_export.quantized.model import QuantizedModel, quantized_model
from graphquant_export.targets.ascend.compiler import advice_on, open_relu6
from graphquant_export.targets.ascend.form import AscendForm
from graphquant_export.targets.ascend.functions import ascend_functions

logger = logging.getLogger(__name__)


@attrs.frozen
class DeployedLayer:
    """Names of the nodes of one deployed layer.

    Attributes:
        name: Name of the layer in the record.
        op_type: Type of its op.
        node: Name of the node that sums; `name` unless that is an output of the model.
        quant: Its AscendQuant, which layers with the same input and factors share.
        weight_quant: Its AscendWeightQuant, ``None`` without weight.
        bias: The Cast of its int32 bias, ``None`` without bias.
        result: What its AscendDequant takes: its node, its BiasAdd, or the Concat of its group.
        dequant: Its AscendDequant, which the members of a group share.
        folded: Names of the nodes that were folded into it.
        advice: Sentences about what Ascend's compiler makes of it.
    """

    name: str
    op_type: str
    node: str
    quant: str
    weight_quant: str | None
    bias: str | None
    result: str
    dequant: str
    folded: tuple[str, ...]
    advice: tuple[str, ...] = ()


def deploy(model: QuantizedModel) -> tuple[tf.compat.v1.GraphDef, tuple[DeployedLayer, ...]]:
    """`model` in Ascend's ops, with their function library, and its layers in their order.

    Raises:
        UnsupportedLayerError: The channels of a layer stand where Ascend's ops can't have them.
    """
    editor, emitted = emit(model, AscendForm())
    pairs = list(zip(emitted, model.layers, strict=True))
    open_relu6(editor, model.outputs, {names.quantizer: layer.factors for names, layer in pairs})
    graph_def = editor.graph_def(model.outputs)
    graph_def.library.function.extend(ascend_functions())
    return graph_def, tuple(_deployed(names, layer) for names, layer in pairs)


def _deployed(names: EmittedLayer, layer: QuantizedLayer) -> DeployedLayer:
    return DeployedLayer(
        name=names.name,
        op_type=names.op_type,
        node=names.node,
        quant=names.quantizer,
        weight_quant=names.weight,
        bias=names.bias,
        result=names.sums,
        dequant=names.value,
        folded=names.folded,
        advice=advice_on(layer),
    )


def quantize_graph(
    model: tf.compat.v1.GraphDef, outputs: Sequence[str], record: Record
) -> tuple[tf.compat.v1.GraphDef, tuple[DeployedLayer, ...]]:
    """The quantised graph with its function library, and its layers; nothing is written.

    What Ascend's compiler is known to make of a layer is logged.

    Raises: as `graphquant_export.quantized.quantized_model` and `deploy`.
    """
    graph_def, layers = deploy(quantized_model(model, outputs, record))
    log_advice(layers)
    return graph_def, layers


def log_advice(layers: Sequence[DeployedLayer]) -> None:
    """Logs what there is to say of `layers`."""
    for layer in layers:
        for sentence in layer.advice:
            logger.warning('layer "%s": %s', layer.name, sentence)
