"""What MNN computes of a record: which layers in int8, and where it rounds."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy.typing as npt

from graphquant_core.weight_record import Factors
from graphquant_export.layout import with_channels_last
from graphquant_export.quantized.simulate import SimulatedGraph
from graphquant_export.quantized.target_simulation import TargetSimulation, simulate_target
from graphquant_export.rewriting import rewrite
from graphquant_export.rewriting.explicit_padding import EXPLICIT_PADDING
from graphquant_export.targets.mnn.int8.depthwise_biases import with_depthwise_biases
from graphquant_export.targets.mnn.int8.planned_layers import (
    INT8,
    ZERO_POINT,
    PlannedLayer,
    describe_layers,
    in_floats,
)
from graphquant_export.targets.mnn.int8.subpixel_form import without_transposed
from graphquant_export.targets.rules import MNN


@attrs.frozen(eq=False)
class MnnTarget:
    """What MNN computes.

    Attributes:
        simulated: The simulation as MNN's converter gets it, before grids are kept apart.
        described: What MNN can make of each layer of it, without the grids of their results.
        target: The simulation with MNN's roundings.
    """

    simulated: SimulatedGraph
    described: tuple[PlannedLayer, ...]
    target: TargetSimulation


def mnn_target(
    simulated: SimulatedGraph,
    record: Factors,
    calibration: Mapping[str, npt.ArrayLike] | None = None,
) -> MnnTarget:
    """What MNN computes of `simulated`.

    Args:
        simulated: The simulation of the layers.
        record: Scales and offsets of the layers, and grids of values.
        calibration: Samples for each placeholder, for what the record lacks.

    Raises:
        UnsupportedLayerError: MNN's converter would make a wrong model of the graph.
        RecordError, ConfigError, RangeError, NonFiniteError: as `simulate_target`.
    """
    graph_def = with_channels_last(simulated.graph_def, simulated.outputs)
    graph_def = rewrite(graph_def, simulated.outputs, (EXPLICIT_PADDING,))
    last = attrs.evolve(simulated, graph_def=graph_def)
    form = without_transposed(with_depthwise_biases(last))
    described = tuple(
        attrs.evolve(layer, finished=form.finished.get(layer.simulated.name))
        for layer in describe_layers(form.simulated)
    )
    floats = {layer.simulated.name for layer in described if layer.execution != INT8}
    target = simulate_target(simulated, record, MNN, calibration, floats)
    unforeseen = target.float_layers.difference(floats)
    described = tuple(
        in_floats(layer, ZERO_POINT) if layer.simulated.name in unforeseen else layer
        for layer in described
    )
    return MnnTarget(form.simulated, described, target)
