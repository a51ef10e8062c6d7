"""Float layers of a frozen graph become deployed ones.

::

    AscendQuant -> [Pad] -> layer <- AscendWeightQuant ;  layer -> [BiasAdd] -> AscendDequant
    AscendQuant -> Split -> {layer -> [BiasAdd]}* -> Concat -> AscendDequant
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import numpy as np

from graphquant_core.graph import PassThrough
from graphquant_core.graph.frozen import GraphDefEditor, tensor_name
from graphquant_export.targets.ascend import nodes
from graphquant_export.targets.ascend.groups import Group, find_groups
from graphquant_export.targets.ascend.layer_integers import LayerIntegers
from graphquant_export.targets.ascend.layer_nodes import LayerNodes
from graphquant_export.targets.ascend.quantized_inputs import open_relu6, quantize_inputs
from graphquant_export.targets.ascend.sites import Site


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
    kept = frozenset(outputs)
    sites = [site for site, _ in layers]
    _drop_fake_quantizers(editor, outputs, sites)
    groups = find_groups(editor, kept, layers)
    # First every AscendQuant: it takes what another layer returns, and is redirected with it.
    quants = quantize_inputs(editor, kept, sites, groups)
    open_relu6(editor, kept, {quants[site.layer.name]: site.factors for site in sites})
    deployer = _Deployer(editor, kept, quants)
    grouped = [layer for group in groups for layer in deployer.deploy_group(group)]
    done = {layer.name: layer for layer in grouped}
    return tuple(
        done.get(site.layer.name) or deployer.deploy(site, numbers) for site, numbers in layers
    )


def _drop_fake_quantizers(
    editor: GraphDefEditor, outputs: Sequence[str], sites: Sequence[Site]
) -> None:
    """Takes the layers' fake quantisers out, whose scopes the deployed nodes are named after."""
    for site in sites:
        x = tensor_name(site.activation.name)
        editor.set_input(site.op.name, site.layer.activation_port, x)
        if site.split is not None:
            editor.set_input(site.activation.op.name, 1, tensor_name(site.split.name))
    weights = {(site.op.name, site.layer.weight_port) for site in sites if site.weight is not None}
    editor.drop_unneeded(outputs, [(name, port) for name, port in weights if port is not None])


class _Deployer:
    def __init__(
        self, editor: GraphDefEditor, outputs: frozenset[str], quants: dict[str, str]
    ) -> None:
        self._editor = editor
        self._outputs = outputs
        self._quants = quants

    def deploy(self, site: Site, numbers: LayerIntegers) -> DeployedLayer:
        op = site.op
        last = numbers.steps[-1].output if numbers.steps else op.outputs[0]
        consumers = self._editor.consumers(last.name)
        node = self._free_name_of_output(op.name) if last.op is op else op.name
        layer = LayerNodes(self._editor, site, numbers)
        sums = layer.sums(node)
        dequant = layer.dequantize(sums, numbers.scale, op.outputs[0].shape)
        result = self._reshape_as_before(dequant, numbers)
        self._replace_result(last.op.name, consumers, result)
        return self._deployed(site, numbers, node, layer, sums, dequant)

    def deploy_group(self, group: Group) -> list[DeployedLayer]:
        concat = group.concat.name
        consumers = self._editor.consumers(concat)
        node = self._free_name_of_output(concat)
        layers = []
        for port, (site, numbers) in enumerate(group.members, group.first_port):
            layers.append(LayerNodes(self._editor, site, numbers))
            self._editor.set_input(node, port, layers[-1].sums(site.op.name))
        scales = [
            np.broadcast_to(numbers.scale, [site.layer.output_channels or 1])
            for site, numbers in group.members
        ]
        dequant = layers[0].dequantize(node, np.concatenate(scales), group.concat.outputs[0].shape)
        self._replace_result(concat, consumers, dequant)
        return [
            self._deployed(site, numbers, site.op.name, layer, node, dequant)
            for layer, (site, numbers) in zip(layers, group.members, strict=True)
        ]

    def _deployed(
        self,
        site: Site,
        numbers: LayerIntegers,
        node: str,
        layer: LayerNodes,
        result: str,
        dequant: str,
    ) -> DeployedLayer:
        for step in numbers.steps:
            self._editor.move_control_edges(step.op.name, dequant)
        folded = [step.op.name for step in numbers.steps if not isinstance(step, PassThrough)]
        name = site.layer.name
        return DeployedLayer(
            name=name,
            op_type=site.op.type,
            node=node,
            quant=self._quants[name],
            weight_quant=layer.weight_quant,
            bias=layer.bias,
            result=result,
            dequant=dequant,
            folded=tuple(folded),
            advice=tuple(layer.advice),
        )

    def _reshape_as_before(self, dequant: str, numbers: LayerIntegers) -> str:
        result = dequant
        for step in numbers.steps:
            if isinstance(step, PassThrough) and step.op.type == "Squeeze":
                self._editor.set_input(step.op.name, 0, result)
                result = step.op.name
        return result

    def _free_name_of_output(self, name: str) -> str:
        if name not in self._outputs:
            return name
        renamed = self._editor.unique_name(f"{name}_sums")
        self._editor.rename(name, renamed)
        return renamed

    def _replace_result(self, name: str, consumers: Iterable[tuple[str, int]], result: str) -> None:
        for taker, port in consumers:
            self._editor.set_input(taker, port, result)
        if name not in self._outputs:
            return
        node = nodes.identity(name, result)
        if self._editor.has(name):
            self._editor.replace(node)
        else:
            self._editor.add(node)
