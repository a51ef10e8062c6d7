"""Ranges that no record holds, observed on the simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError, NonFiniteError
from graphquant_export.feeds import checked_feeds
from graphquant_export.frozen import import_frozen

v1 = tf.compat.v1


def observe_ranges(
    graph_def: tf.compat.v1.GraphDef,
    tensors: Sequence[str],
    calibration: Mapping[str, npt.ArrayLike],
) -> dict[str, tuple[float, float]]:
    """(smallest, largest) value of each of `tensors` on `calibration`, 0.0 always inside.

    Args:
        graph_def: A graph that TensorFlow runs, such as `SimulatedGraph.graph_def`.
        tensors: Names of ops or tensors.
        calibration: A batch for each placeholder, by name (``"x"`` or ``"x:0"``).

    Raises:
        ConfigError: `calibration` names no placeholder, or lacks one.
        RangeError: A value doesn't fit its placeholder.
        NonFiniteError: A tensor has NaN or infinite values; names it.
        ModelFileError: TensorFlow cannot run the model on `calibration`.
    """
    if not tensors:
        return {}
    graph = import_frozen(graph_def)
    feeds = checked_feeds(graph, calibration, "calibration")
    fetches = [name if ":" in name else f"{name}:0" for name in tensors]
    config = v1.ConfigProto(device_count={"GPU": 0}, allow_soft_placement=True)
    # It would fuse a LeakyRelu with a BiasAdd that is fetched, too, and then not find the BiasAdd.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    try:
        with v1.Session(graph=graph, config=config) as session:
            values = session.run(fetches, feeds)
    except tf.errors.OpError as error:
        raise ModelFileError(f"TensorFlow cannot run the model: {error.message}") from error
    ranges = {}
    for name, value in zip(tensors, values, strict=True):
        low, high = float(np.min(value, initial=0.0)), float(np.max(value, initial=0.0))
        if not np.isfinite([low, high]).all():
            raise NonFiniteError(f'the value of "{name}" is not finite on the calibration batch')
        ranges[name] = (low, high)
    return ranges
