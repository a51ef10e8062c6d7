"""Training weights in steps of their grids, with any optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from graphquant_core.exceptions import ConfigError, GraphStateError

v1 = tf.compat.v1

GradientOf = tuple[tf.Tensor | None, tf.Variable]


def check_optimizer(optimizer: object) -> None:
    """Return when `optimizer` is one of ``tf.compat.v1.train``.

    Raises:
        ConfigError: It isn't.
    """
    if not isinstance(optimizer, v1.train.Optimizer):
        raise ConfigError(
            f"optimizer ({type(optimizer).__name__}) must be a tf.compat.v1.train.Optimizer"
        )


class StepUnits(v1.train.Optimizer):  # type: ignore[misc, name-defined]
    """Trains w = w0 + ratio * step * u: `optimizer` trains u, one number for each weight.

    `step` is that of the grid on which a weight's group starts. The function that is trained is
    the same; but an optimizer such as Adam, whose steps don't depend on the size of a gradient,
    moves every group by the same share of its step. Variables without a step are trained as ever.

    Args:
        optimizer: The optimizer, such as a ``tf.compat.v1.train.AdamOptimizer``.
        steps: Variable with ratio * step of each element, by the name of the weight's op.
        pending: Variable of the weight's shape, zero between two training steps, likewise.
    """

    def __init__(
        self,
        optimizer: tf.compat.v1.train.Optimizer,
        steps: Mapping[str, tf.Variable],
        pending: Mapping[str, tf.Variable],
    ) -> None:
        super().__init__(use_locking=False, name="StepUnits")
        self._optimizer = optimizer
        self._steps = steps
        self._pending = pending

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
        """Lets `optimizer` train u with step * gradient, and adds step * u to the weights.

        Raises:
            GraphStateError: A gradient is sparse, as that of a weight that rows are taken of.
        """
        inner: list[GradientOf] = []
        moved: list[tuple[tf.Variable, tf.Variable, tf.Variable]] = []
        for gradient, variable in grads_and_vars:
            key = variable.op.name
            if gradient is None or key not in self._steps:
                inner.append((gradient, variable))
                continue
            if isinstance(gradient, tf.IndexedSlices):
                raise GraphStateError(f'the gradient of "{key}" is sparse: it has no step units')
            step, pending = self._steps[key], self._pending[key]
            inner.append((gradient * step, pending))
            moved.append((variable, step, pending))
        applied = self._optimizer.apply_gradients(inner, global_step)
        with tf.control_dependencies([applied]):
            added = [
                variable.assign_add(step * pending.read_value())
                for variable, step, pending in moved
            ]
        with tf.control_dependencies(added):
            emptied = [pending.assign(tf.zeros_like(pending)) for _, _, pending in moved]
        return tf.group(applied, *added, *emptied, name=name)
