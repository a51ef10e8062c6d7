"""Layers whose kernel adds the zero point of its result to its integer sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_core.target_rules import TargetRules
from graphquant_core.value_grid import ValueGrid
from graphquant_export.quantized.integers import Float32Array, zero_point_shift
from graphquant_export.quantized.simulate import SimulatedGraph


def layers_with_shifts(
    simulated: SimulatedGraph, rules: TargetRules, results: Mapping[str, ValueGrid]
) -> frozenset[str]:
    """Names of such layers, of whose result the zero point is another than 0.

    Args:
        simulated: The simulation of the layers.
        rules: The target's rules.
        results: Grid of what each layer returns, by its name; none of one that returns floats.
    """
    layers = {layer.name: layer.layer for layer in simulated.model.layers}
    return frozenset(
        name
        for name, grid in results.items()
        if layers[name].kernel_type in rules.summed_zero_points and grid.zero_point != 0
    )


def zero_point_shifts(
    simulated: SimulatedGraph, rules: TargetRules, results: Mapping[str, ValueGrid]
) -> dict[str, Float32Array]:
    """By node with the result of such a layer what is added to each of its channels.

    Args: as `layers_with_shifts`.
    """
    layers = {layer.name: layer for layer in simulated.model.layers}
    names = layers_with_shifts(simulated, rules, results)
    shifts = {}
    for layer in simulated.layers:
        if layer.name in names:
            vector = zero_point_shift(layer.scale, results[layer.name]).astype(np.float32)
            shifts[layer.result] = layers[layer.name].along_channels(vector)
    return shifts


def shift_results(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str], shifts: Mapping[str, Float32Array]
) -> tf.compat.v1.GraphDef:
    """`graph_def` with something added to the result of each node in `shifts`, under its name."""
    if not shifts:
        return graph_def
    editor = GraphDefEditor(graph_def)
    for name, values in shifts.items():
        plain = editor.unique_name(f"{name}_before_zero_point")
        editor.rename(name, plain)
        shift = editor.add(const_node(editor.unique_name(f"{name}/zero_point"), values))
        editor.add(node_def(name, "AddV2", [plain, shift], T=tf.float32))
    return editor.graph_def(outputs)
