"""What every target deploys, as a float graph that plain TensorFlow runs. It imports TensorFlow."""

from __future__ import annotations

from graphquant_export.simulation.ranges import observe_ranges
from graphquant_export.simulation.simulate import SimulatedGraph, SimulatedLayer, simulate

__all__ = ["SimulatedGraph", "SimulatedLayer", "observe_ranges", "simulate"]
