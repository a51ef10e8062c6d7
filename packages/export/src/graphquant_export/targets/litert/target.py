"""What LiteRT computes: the simulation with its own roundings in it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy.typing as npt

from graphquant_core.record import Record
from graphquant_export.quantized.simulate import SimulatedGraph
from graphquant_export.quantized.target_simulation import TargetSimulation, simulate_target
from graphquant_export.targets.litert.inexact_layers import inexact_layers
from graphquant_export.targets.rules import LITERT


def simulate_litert(
    simulated: SimulatedGraph,
    record: Record,
    calibration: Mapping[str, npt.ArrayLike] | None = None,
    *,
    integer_io: bool = False,
) -> TargetSimulation:
    """As `simulate_target`, for LiteRT.

    Args:
        simulated: The simulation of the layers.
        record: Scales and offsets of the layers, and grids of values.
        calibration: Samples for each placeholder, for what the record lacks.
        integer_io: Whether the outputs of the model are int8, so that what follows its last layer
            is computed with integers, too.
    """
    rules = attrs.evolve(LITERT, integer_outputs=integer_io)
    return simulate_target(simulated, record, rules, calibration, inexact_layers(simulated).keys())
