"""Values of tensors that depend on constants alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError

v1 = tf.compat.v1


def evaluate_constants(graph: tf.Graph, tensors: Sequence[tf.Tensor]) -> list[npt.NDArray[Any]]:
    """Values of `tensors` of the frozen `graph`, however each is computed from constants.

    Everything is evaluated in one session, on the CPU.

    Raises:
        ModelFileError: A tensor needs more than constants.
    """
    if not tensors:
        return []
    config = v1.ConfigProto(device_count={"GPU": 0}, allow_soft_placement=True)
    try:
        with v1.Session(graph=graph, config=config) as session:
            values = session.run(list(tensors))
    except tf.errors.OpError as error:
        names = ", ".join(f'"{tensor.name}"' for tensor in tensors[:5])
        raise ModelFileError(f"cannot evaluate the constants {names} …: {error.message}") from error
    return [np.asarray(value) for value in values]
