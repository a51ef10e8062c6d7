"""Training weights in steps of their grids, with any optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from graphquant_core.exceptions import ConfigError, GraphStateError

v1 = tf.compat.v1

GradientOf = tuple[tf.Tensor | None, tf.Variable]


def check_step_units(optimizer: object, ratio: object) -> None:
    """Return when the arguments of `in_step_units` are right.

    Raises:
        ConfigError: `optimizer` is no ``tf.compat.v1.train.Optimizer``, or `ratio` isn't a
            positive number.
        GraphStateError: A tf.distribute strategy is in force.
    """
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not ratio > 0:
        raise ConfigError(f"ratio ({ratio!r}) must be a positive number")
    if not isinstance(optimizer, v1.train.Optimizer):
        raise ConfigError(
            f"optimizer ({type(optimizer).__name__}) must be a tf.compat.v1.train.Optimizer"
        )
    if tf.distribute.has_strategy():
        raise GraphStateError(
            "a tf.distribute strategy is in force, whose replicas each have their weights: there "
            "are no step units then; use the optimizer itself"
        )


class StepUnits(v1.train.Optimizer):  # type: ignore[misc, name-defined]
    """Trains w = w0 + unit * u: `optimizer` trains u, one number for each weight.

    A unit is a number of steps of the grid of a weight's group. The function that is trained is
    the same; but an optimizer such as Adam, whose steps don't depend on the size of a gradient,
    moves every group by the same share of its step. Variables without a unit are trained as ever.
    Nothing is added that a Saver saves, or that has to be initialised, but what `optimizer` keeps.

    Args:
        optimizer: The optimizer, such as a ``tf.compat.v1.train.AdamOptimizer``.
        units: The unit of each element, or what broadcasts to them, by the name of the weight's op.
    """

    def __init__(
        self,
        optimizer: tf.compat.v1.train.Optimizer,
        units: Mapping[str, tf.Tensor | tf.Variable],
    ) -> None:
        super().__init__(use_locking=False, name="StepUnits")
        self._optimizer = optimizer
        self._units = units
        self._moves: dict[str, tf.Variable] = {}

    def compute_gradients(self, *args: Any, **keywords: Any) -> list[GradientOf]:
        """The gradients of the weights themselves, as those of `optimizer`."""
        found: list[GradientOf] = self._optimizer.compute_gradients(*args, **keywords)
        return found

    def apply_gradients(
        self,
        grads_and_vars: Iterable[GradientOf],
        global_step: tf.Variable | None = None,
        name: str | None = None,
    ) -> tf.Operation:
        """Lets `optimizer` move u, which is zero before, and adds unit * u to the weights.

        Raises:
            GraphStateError: A gradient is sparse, as that of a weight that rows are taken of.
        """
        inner: list[GradientOf] = []
        moved: list[tuple[tf.Variable, tf.Tensor, tf.Variable]] = []
        for gradient, variable in grads_and_vars:
            key = variable.op.name
            if gradient is None or key not in self._units:
                inner.append((gradient, variable))
                continue
            if isinstance(gradient, tf.IndexedSlices):
                raise GraphStateError(f'the gradient of "{key}" is sparse: it has no step units')
            unit, move = self._units[key], self._move(variable)
            inner.append((gradient * unit, move))
            moved.append((variable, unit, move))
        emptied = [move.assign(tf.zeros(move.shape)).op for _, _, move in moved]
        with tf.control_dependencies(emptied):
            applied = self._optimizer.apply_gradients(inner, global_step)
        with tf.control_dependencies([applied]):
            added = [
                variable.assign_add(unit * move.read_value()) for variable, unit, move in moved
            ]
        return tf.group(applied, *added, name=name)

    def get_slot(self, var: tf.Variable, name: str) -> tf.Variable | None:
        """What `optimizer` keeps of `var` under `name`."""
        return self._optimizer.get_slot(self._moves.get(var.op.name, var), name)

    def get_slot_names(self) -> list[str]:
        """Those of `optimizer`."""
        names: list[str] = self._optimizer.get_slot_names()
        return names

    def variables(self) -> list[tf.Variable]:
        """Those of `optimizer`."""
        found: list[tf.Variable] = self._optimizer.variables()
        return found

    def _move(self, variable: tf.Variable) -> tf.Variable:
        """The variable that holds what one step moves `variable` by, in its units."""
        key = variable.op.name
        if key not in self._moves:
            # An optimizer that starts from the variable's name finds its own again after a restore.
            with v1.name_scope(f"{key}/step_units/"):
                self._moves[key] = v1.Variable(
                    tf.zeros(variable.shape),
                    trainable=False,
                    collections=[],
                    name="pending",
                    use_resource=True,
                )
        return self._moves[key]
