"""Ranges that no record holds, observed on the simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError, NonFiniteError
from graphquant_core.graph.frozen import cpu_session, import_frozen
from graphquant_export.inputs.batches import make_batches
from graphquant_export.inputs.brief import brief


def observe_ranges(
    graph_def: tf.compat.v1.GraphDef,
    tensors: Sequence[str],
    calibration: Mapping[str, npt.ArrayLike],
) -> dict[str, tuple[float, float]]:
    """(smallest, largest) value of each of `tensors` on `calibration`, 0.0 always inside.

    Args:
        graph_def: A graph that TensorFlow runs, such as `SimulatedGraph.graph_def`.
        tensors: Names of ops or tensors.
        calibration: Samples for each placeholder, by name (``"x"`` or ``"x:0"``).

    Raises:
        ConfigError: `calibration` names no placeholder, or lacks one.
        RangeError: A value doesn't fit its placeholder.
        NonFiniteError: A tensor has NaN or infinite values; names it.
        ModelFileError: TensorFlow cannot run the model on `calibration`.
    """
    if not tensors:
        return {}
    graph = import_frozen(graph_def)
    batches = make_batches(graph, calibration, argument="calibration")
    fetches = [name if ":" in name else f"{name}:0" for name in tensors]
    ranges = dict.fromkeys(tensors, (0.0, 0.0))
    # It would fuse a LeakyRelu with a BiasAdd that is fetched, too, and then not find the BiasAdd.
    with cpu_session(graph, rewritten=False) as session:
        for batch in batches:
            try:
                values = session.run(fetches, batch.feeds)
            except tf.errors.OpError as error:
                raise ModelFileError(f"TensorFlow cannot run the model: {brief(error)}") from error
            for name, value in zip(tensors, values, strict=True):
                ranges[name] = _widened(name, ranges[name], value)
    return ranges


def _widened(name: str, known: tuple[float, float], value: npt.NDArray[Any]) -> tuple[float, float]:
    low, high = float(np.min(value, initial=known[0])), float(np.max(value, initial=known[1]))
    if not np.isfinite([low, high]).all():
        raise NonFiniteError(f'the value of "{name}" is not finite on the calibration batch')
    return low, high
