"""Variables of a quantiser."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from graphquant_core.graph.replica import current_replica

v1 = tf.compat.v1


def stored(
    key: str, name: str, initial: float, shape: Sequence[int] = (), trainable: bool = True
) -> tf.Tensor:
    """The value of the variable ``<key>/<name>``, which a second quantiser of `key` shares.

    float32, or int32 where `initial` is an int. It is read outside of any cond.
    """
    variable = v1.get_variable(
        f"{key}/{name}",
        shape=list(shape),
        dtype=tf.int32 if isinstance(initial, int) else tf.float32,
        initializer=v1.constant_initializer(initial),
        trainable=trainable,
        use_resource=True,
    )
    if current_replica() is None:
        # The read that every variable has from the start spares the graph two ops of another.
        snapshot: str = variable.to_proto().snapshot_name
        return v1.get_default_graph().get_tensor_by_name(snapshot)
    with tf.control_dependencies(None):
        return variable.read_value()
