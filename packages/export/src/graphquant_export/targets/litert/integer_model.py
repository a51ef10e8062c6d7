"""The int8 model of a graph and its record."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from graphquant_core.layer import Skip
from graphquant_export.quantized.simulate import SimulatedGraph
from graphquant_export.quantized.target_simulation import TargetSimulation
from graphquant_export.targets.litert.conversion_graph import conversion_graph
from graphquant_export.targets.litert.convert import convert
from graphquant_export.targets.litert.emit import emit
from graphquant_export.targets.litert.float_graph import FloatGraph, read_float_graph
from graphquant_export.targets.litert.grids import Grids
from graphquant_export.targets.litert.inexact_layers import inexact_layers
from graphquant_export.targets.litert.integer_plan import IntegerPlan, plan_integers
from graphquant_export.targets.litert.kinds import WEIGHT_PORTS
from graphquant_export.targets.litert.pooling import with_rescaling_pools
from graphquant_export.targets.litert.stored_weight import StoredWeight
from graphquant_export.targets.litert.transposed_convolutions import with_single_rounding
from graphquant_export.targets.litert.transposes import without_inverse_transposes
from graphquant_export.targets.litert.weights import StoredLayer, layer_names, store_layer

logger = logging.getLogger(__name__)


def integer_model(simulated: SimulatedGraph, target: TargetSimulation, integer_io: bool) -> Any:
    """The ``ModelT`` of `simulated`; a warning names each layer that computes in float.

    Args:
        simulated: The simulation of the layers.
        target: The same as LiteRT computes it, with everything that it rounds.
        integer_io: Whether the inputs and outputs are int8 where the model computes them so.

    Raises: as `graphquant_export.targets.litert.export_litert`, except for files.
    """
    results = [layer.result for layer in simulated.layers]
    quantizers = {layer.quantizer: layer.grid for layer in simulated.layers}
    quantizers |= {value.name: value.grid for value in target.values}
    nodes = [layer.node for layer in simulated.layers]
    prepared = conversion_graph(target.graph_def, simulated.outputs, nodes, results, quantizers)
    graph = without_inverse_transposes(read_float_graph(convert(prepared), prepared))
    found = (store_layer(graph, layer) for layer in simulated.layers)
    layers = [layer for layer in found if layer is not None]
    graph, layers = with_single_rounding(graph, Grids(graph, quantizers), layers)
    grids = Grids(graph, quantizers)
    graph, pools = with_rescaling_pools(graph, grids, layers)
    activations = {layer.op: quantizers[layer.layer.quantizer] for layer in layers}
    plan = plan_integers(graph, grids, activations, integer_io)
    simulated.model.warn_of_floats(
        logger, "LiteRT", _float_layers(simulated, graph, layers, plan, target)
    )
    weights = {
        layer.op: _stored_weight(graph, layer) for layer in layers if layer.codes is not None
    }
    names = layer_names(graph, target.graph_def)
    return emit(graph, grids, plan, weights | pools, names, simulated.outputs, integer_io)


def _stored_weight(graph: FloatGraph, stored: StoredLayer) -> StoredWeight:
    assert stored.codes is not None
    assert stored.weight_scale is not None
    return StoredWeight(
        stored.layer.name,
        stored.codes,
        stored.weight_scale,
        WEIGHT_PORTS[graph.ops[stored.op].kind].channel_axis,
        bias=stored.bias,
        bias_scale=stored.bias_scale,
    )


def _float_layers(
    simulated: SimulatedGraph,
    graph: FloatGraph,
    layers: Sequence[StoredLayer],
    plan: IntegerPlan,
    target: TargetSimulation,
) -> list[Skip]:
    """The layers of the record that compute in float, with the reasons."""
    operators = {layer.layer.name: layer.op for layer in layers}
    inexact = inexact_layers(simulated) if target.float_layers else {}
    floats = []
    for layer in simulated.layers:
        reason = None
        if layer.name not in operators:
            reason = f"LiteRT has no int8 operator for {layer.op_type}"
        elif graph.ops[operators[layer.name]].outputs[0] not in plan.values:
            reason = inexact.get(
                layer.name,
                "the record has no grid of what it returns; give calibration= samples that show "
                "its range, or train for litert",
            )
        if reason is not None:
            floats.append(Skip(layer.name, layer.op_type, reason))
    return floats
