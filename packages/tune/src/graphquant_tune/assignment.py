"""Values for many variables in one run of a session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy.typing as npt
import tensorflow as tf

v1 = tf.compat.v1


class Assignment:
    """Gives `variables` values; make it before a session runs.

    In one run, as TensorFlow optimises the whole graph for each kind of run; and through
    placeholders, as initial values may be a constant that several variables share.
    """

    def __init__(self, variables: Iterable[tf.Variable]) -> None:
        known = list(variables)
        self._places: list[tf.Tensor] = []
        self._assigned: list[tf.Tensor] = []
        for variable in known:
            with variable.graph.as_default():
                place = v1.placeholder(variable.dtype.base_dtype, variable.shape)
                self._places.append(place)
                self._assigned.append(v1.assign(variable, place).op)

    def run(self, session: tf.compat.v1.Session, values: Sequence[npt.ArrayLike]) -> None:
        """Gives them `values`, in their order."""
        session.run(self._assigned, dict(zip(self._places, values, strict=True)))
