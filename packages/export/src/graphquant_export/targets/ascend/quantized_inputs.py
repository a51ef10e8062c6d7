"""Where each AscendQuant stands: one for each (tensor, scale, offset), before Pad and Split."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor, tensor_name
from graphquant_core.record import LayerFactors
from graphquant_export.targets.ascend import nodes
from graphquant_export.targets.ascend.groups import Group
from graphquant_export.targets.ascend.scopes import free_scope
from graphquant_export.targets.ascend.sites import Site

Key = tuple[str, float, int]


def quantize_inputs(
    editor: GraphDefEditor,
    outputs: Collection[str],
    sites: Sequence[Site],
    groups: Sequence[Group],
) -> dict[str, str]:
    """Lets every layer take an AscendQuant; its name, by the name of the layer.

    It stands before a Pad with zeros and before the Split of a group: 0.0 is on the grid and codes
    are moved like values, so that the order doesn't matter.

    Args:
        editor: The graph to change.
        outputs: Names of the outputs of the model.
        sites: The layers.
        groups: The groups among them.
    """
    inputs = _Inputs(editor, outputs, sites)
    split = {member.layer.name: group for group in groups for member, _ in group.members}
    quants: dict[str, str] = {}
    for site in sites:
        name = site.layer.name
        group = split.get(name)
        if group is not None:
            quants[name] = inputs.quantize(site, group.value)
            editor.set_input(group.split.name, 1, quants[name])
        elif _padded(site):
            quants[name] = inputs.quantize(site, site.activation.op.inputs[0])
            inputs.take(site, inputs.pad(site, quants[name]))
        else:
            quants[name] = inputs.quantize(site, site.activation)
            inputs.take(site, quants[name])
    return quants


class _Inputs:
    def __init__(
        self, editor: GraphDefEditor, outputs: Collection[str], sites: Sequence[Site]
    ) -> None:
        self._editor = editor
        self._outputs = outputs
        self._keys = {
            (site.op.name, site.layer.activation_port): _key(site, site.activation)
            for site in sites
        }
        self._quants: dict[Key, str] = {}
        self._pads: dict[Key, str] = {}

    def quantize(self, site: Site, x: tf.Tensor) -> str:
        """The AscendQuant of `x` with the factors of `site`."""
        key = _key(site, x)
        if key not in self._quants:
            name = free_scope(self._editor, site, "act_quant") + "/AscendQuant"
            factors = site.factors
            self._quants[key] = self._editor.add(
                nodes.ascend_quant(
                    name, tensor_name(x.name), factors.scale_d, factors.offset_d, x.shape
                )
            )
        return self._quants[key]

    def pad(self, site: Site, quant: str) -> str:
        """The Pad before `site`, of the codes `quant`; a copy when something else takes it too."""
        key = _key(site, site.activation)
        if key not in self._pads:
            name = site.activation.op.name
            takers = self._editor.consumers(name)
            if name in self._outputs or any(self._keys.get(taker) != key for taker in takers):
                copy = tf.compat.v1.NodeDef()
                copy.CopyFrom(self._editor.node(name))
                copy.name = self._editor.unique_name(f"{quant.rpartition('/')[0]}/Pad")
                name = self._editor.add(copy)
            self._editor.set_input(name, 0, quant)
            self._pads[key] = name
        return self._pads[key]

    def take(self, site: Site, x: str) -> None:
        """Lets `site` take `x`."""
        self._editor.set_input(site.op.name, site.layer.activation_port, x)


def _key(site: Site, x: tf.Tensor) -> Key:
    return (x.name, site.factors.scale_d, site.factors.offset_d)


def _padded(site: Site) -> bool:
    # The compiler matches a Pad before what multiplies by a weight only.
    return site.weight is not None and site.activation.op.type == "Pad"


def open_relu6(
    editor: GraphDefEditor,
    outputs: Collection[str],
    factors_of: dict[str, LayerFactors],
) -> None:
    """Makes Relu of each Relu6 that only AscendQuants take whose range ends at 6 or below.

    They saturate what Relu6 would cut off, and the compiler fuses Relu with the layer before it.

    Args:
        editor: The graph to change.
        outputs: Names of the outputs of the model.
        factors_of: The factors of each AscendQuant, by its name.
    """
    for quant in factors_of:
        source = editor.node(quant).input[0]
        if not editor.has(source) or editor.node(source).op != "Relu6" or source in outputs:
            continue
        takers = [name for name, _ in editor.consumers(source)]
        if all(name in factors_of and _ends_below_6(factors_of[name]) for name in takers):
            editor.node(source).op = "Relu"


def _ends_below_6(factors: LayerFactors) -> bool:
    # In float32, where 255 steps of 6 / 255 are 6.
    return bool(np.float32(127 - factors.offset_d) * np.float32(factors.scale_d) <= np.float32(6))
