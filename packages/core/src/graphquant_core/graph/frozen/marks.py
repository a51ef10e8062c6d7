"""Whether the marks of fake quantisers are whole in a frozen graph."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph.rewire import (
    ACTIVATION_INPUT,
    ACTIVATION_OUTPUT,
    ROLE_ATTRIBUTE,
    VALUE_INPUT,
    VALUE_OUTPUT,
    WEIGHT_INPUT,
    WEIGHT_OUTPUT,
    no_beginning,
)

_ENTRIES = {
    ACTIVATION_OUTPUT: ACTIVATION_INPUT,
    VALUE_OUTPUT: VALUE_INPUT,
    WEIGHT_OUTPUT: WEIGHT_INPUT,
}


def check_marks(graph_def: tf.compat.v1.GraphDef) -> None:
    """Returns when fake quantisers have their first op as well as their last.

    Raises:
        ModelFileError: All first ops of a kind are gone; names a last one, and what removes them.
    """
    first: dict[str, str] = {}
    for node in graph_def.node:
        if ROLE_ATTRIBUTE in node.attr:
            first.setdefault(node.attr[ROLE_ATTRIBUTE].s.decode(), node.name)
    for output, entry in _ENTRIES.items():
        # A value that layers take, too, begins where what they take does.
        shared = output == VALUE_OUTPUT and ACTIVATION_INPUT in first
        if output in first and entry not in first and not shared:
            raise ModelFileError(no_beginning(first[output]))
