"""A float layer of a frozen graph becomes a deployed one.

::

    AscendQuant -> layer <- AscendWeightQuant ;  layer -> [BiasAdd] -> AscendDequant
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_core.graph import PassThrough
from graphquant_export.ascend import integers, nodes
from graphquant_export.ascend.layer_integers import LayerIntegers
from graphquant_export.ascend.sites import Site
from graphquant_export.frozen import GraphDefEditor, tensor_name
from graphquant_export.node_def import const_node

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
        dequant: Its AscendDequant.
        folded: Names of the nodes that were folded into it.
    """

    name: str
    op_type: str
    node: str
    quant: str
    weight_quant: str | None
    dequant: str
    folded: tuple[str, ...]


def deploy(
    editor: GraphDefEditor, outputs: Sequence[str], layers: Sequence[tuple[Site, LayerIntegers]]
) -> tuple[DeployedLayer, ...]:
    """Replaces each of `layers` in `editor` by its integers.

    Args:
        editor: The frozen graph.
        outputs: Names of the ops that are outputs of the model; they keep their names.
        layers: Layers of the graph with their integers.

    Raises:
        UnsupportedLayerError: The channels of a layer stand where Ascend's ops can't have them.
    """
    _drop_fake_quantizers(editor, outputs, [site for site, _ in layers])
    deployer = _Deployer(editor, frozenset(outputs))
    # First every AscendQuant: it takes what another layer returns, and is redirected with it.
    quants = [deployer.quantize_input(site) for site, _ in layers]
    return tuple(
        deployer.deploy(site, numbers, quant)
        for (site, numbers), quant in zip(layers, quants, strict=True)
    )


def _drop_fake_quantizers(
    editor: GraphDefEditor, outputs: Sequence[str], sites: Sequence[Site]
) -> None:
    """Takes the layers' fake quantisers out, whose scopes the deployed nodes are named after."""
    for site in sites:
        x = tensor_name(site.activation.name)
        editor.set_input(site.op.name, site.layer.activation_port, x)
    weights = {(site.op.name, site.layer.weight_port) for site in sites if site.weight is not None}
    editor.drop_unneeded(outputs, [(name, port) for name, port in weights if port is not None])


class _Deployer:
    def __init__(self, editor: GraphDefEditor, outputs: frozenset[str]) -> None:
        self._editor = editor
        self._outputs = outputs
        self._quants: dict[tuple[str, float, int], str] = {}

    def quantize_input(self, site: Site) -> str:
        factors, x = site.factors, site.activation
        key = (x.name, factors.scale_d, factors.offset_d)
        if key not in self._quants:
            name = self._scope(site, "act_quant") + "/AscendQuant"
            self._quants[key] = self._editor.add(
                nodes.ascend_quant(
                    name, tensor_name(x.name), factors.scale_d, factors.offset_d, x.shape
                )
            )
        self._editor.set_input(site.op.name, site.layer.activation_port, self._quants[key])
        return self._quants[key]

    def deploy(self, site: Site, numbers: LayerIntegers, quant: str) -> DeployedLayer:
        op, layer = site.op, site.layer
        data_format = _data_format(site)
        last = numbers.steps[-1].output if numbers.steps else op.outputs[0]
        consumers = self._editor.consumers(last.name)
        node = self._free_name_of_output(op, last)
        weight_quant = None
        if numbers.weight is not None and layer.weight_port is not None:
            weight_quant = self._weight(site, numbers.weight)
            self._editor.set_input(node, layer.weight_port, weight_quant)
        if op.type == "Conv2DBackpropInput":
            self._fix_input_sizes(site, node)
        sums = node if numbers.bias is None else self._bias(site, node, numbers.bias, data_format)
        dequant = self._dequant(site, sums, numbers.scale, data_format)
        result = self._reshape_as_before(dequant, numbers)
        for taker, port in consumers:
            self._editor.set_input(taker, port, result)
        for step in numbers.steps:
            self._editor.move_control_edges(step.op.name, dequant)
        if last.op.name in self._outputs:
            self._restore_output(last.op.name, result)
        folded = tuple(step.op.name for step in numbers.steps if not isinstance(step, PassThrough))
        return DeployedLayer(layer.name, op.type, node, quant, weight_quant, dequant, folded)

    def _weight(self, site: Site, codes: npt.NDArray[np.int8]) -> str:
        scope = self._scope(site, "weight_quant")
        weight = self._editor.add(const_node(f"{scope}/weight", codes))
        offset = self._editor.add(const_node(f"{scope}/offset", nodes.zero_offset()))
        return self._editor.add(
            nodes.ascend_weight_quant(f"{scope}/AscendWeightQuant", weight, offset, codes.shape)
        )

    def _bias(self, site: Site, x: str, codes: npt.NDArray[np.int32], data_format: str) -> str:
        scope = self._scope(site, "bias_quant")
        bias = self._editor.add(const_node(f"{scope}/bias", codes))
        cast = self._editor.add(nodes.int_to_float(f"{scope}/Cast", bias))
        return self._editor.add(nodes.bias_add(f"{scope}/BiasAdd", x, cast, data_format))

    def _dequant(self, site: Site, x: str, scale: integers.Float32Array, data_format: str) -> str:
        scope = self._scope(site, "dequant")
        bits = self._editor.add(const_node(f"{scope}/deq_scale", integers.hardware_scale(scale)))
        return self._editor.add(
            nodes.ascend_dequant(
                f"{scope}/AscendDequant",
                x,
                bits,
                _kernel_size(site),
                data_format,
                site.op.outputs[0].shape,
            )
        )

    def _reshape_as_before(self, dequant: str, numbers: LayerIntegers) -> str:
        result = dequant
        for step in numbers.steps:
            if isinstance(step, PassThrough) and step.op.type == "Squeeze":
                self._editor.set_input(step.op.name, 0, result)
                result = step.op.name
        return result

    def _free_name_of_output(self, op: tf.Operation, last: tf.Tensor) -> str:
        if last.op.name != op.name or op.name not in self._outputs:
            return str(op.name)
        name = self._editor.unique_name(f"{op.name}_sums")
        self._editor.rename(op.name, name)
        return name

    def _restore_output(self, name: str, result: str) -> None:
        node = nodes.identity(name, result)
        if self._editor.has(name):
            self._editor.replace(node)
        else:
            self._editor.add(node)

    def _fix_input_sizes(self, site: Site, node: str) -> None:
        sizes = site.op.inputs[0]
        if sizes.op.type == "Const":
            return
        shape = site.op.outputs[0].shape
        if not shape.is_fully_defined():
            logger.warning(
                'layer "%s": its input_sizes are not constant, which Ascend\'s compiler wants: '
                "give the placeholders of the model a static shape, batch included",
                site.layer.name,
            )
            return
        values = np.array(shape.as_list(), sizes.dtype.as_numpy_dtype)
        name = self._editor.unique_name(_join(_parent(site.layer.name), "input_sizes"))
        self._editor.set_input(node, 0, self._editor.add(const_node(name, values)))

    def _scope(self, site: Site, name: str) -> str:
        return self._editor.unique_name(_join(_parent(site.layer.name), name))


def _data_format(site: Site) -> str:
    """``"NHWC"`` when the channels are the last axis, ``"NCHW"`` when they are the second."""
    rank = site.op.outputs[0].shape.rank
    axis = site.layer.output_channel_axis
    if rank is None:
        return site.layer.data_format or "NHWC"
    if axis % rank == rank - 1:
        return "NHWC"
    if axis % rank == 1:
        return "NCHW"
    raise UnsupportedLayerError(
        f'layer "{site.layer.name}" ({site.layer.op_type}) has its channels on axis {axis} of '
        f"{rank}; Ascend's ops have them on axis 1 or on the last one"
    )


def _kernel_size(site: Site) -> list[int]:
    """``[kh, kw]`` of an average pooling, ``[1, 1]`` for every other layer."""
    if site.op.type != "AvgPool":
        return [1, 1]
    ksize: list[Any] = list(site.op.get_attr("ksize"))
    return [int(size) for size in (ksize[2:] if _data_format(site) == "NCHW" else ksize[1:3])]


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _join(scope: str, name: str) -> str:
    return f"{scope}/{name}" if scope else name
