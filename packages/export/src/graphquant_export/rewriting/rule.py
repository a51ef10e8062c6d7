"""What a rule is."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import tensorflow as tf

from graphquant_export.rewriting.site import Site


@attrs.frozen
class Rule:
    """How ops of some types are computed by others.

    Attributes:
        op_types: The types of the ops.
        last: Adds the ops that compute the same to the graph of a site, but for the last one, which
            it returns: that one gets the name of the op in whose place it stands. ``None`` leaves
            the op as it is. Nothing may be changed before that is clear.
    """

    op_types: frozenset[str]
    last: Callable[[Site], tf.compat.v1.NodeDef | None]
