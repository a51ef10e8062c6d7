"""Names under a tf.distribute strategy that builds the model once for each replica in one graph.

The first replica has the plain names. MirroredStrategy puts ``replica_1/`` before the ops of the
second and ``/replica_1`` behind its variables, and so on. A rewrite runs once in each replica and
may touch only what belongs to it.
"""

from __future__ import annotations

import re

import tensorflow as tf

_PREFIX = re.compile(r"^replica_(\d+)/")
_SUFFIX = re.compile(r"/replica_\d+$")


def shared_name(name: str) -> str:
    """The name that an op or a variable has in every replica: that of the first."""
    return _SUFFIX.sub("", _PREFIX.sub("", name))


def current_replica() -> int | None:
    """Number of the replica that is being built, from 0; ``None`` when there is only one."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    # The id is a tensor in some strategies; MirroredStrategy, which shares a graph, has numbers.
    number = tf.get_static_value(context.replica_id_in_sync_group)
    return None if number is None else int(number)


def in_replica(name: str, replica: int | None) -> bool:
    """Whether the op called `name` belongs to `replica`; every op does when there is only one."""
    if replica is None:
        return True
    found = _PREFIX.match(name)
    return (int(found[1]) if found else 0) == replica
