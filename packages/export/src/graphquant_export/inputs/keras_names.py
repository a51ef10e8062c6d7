"""Names of a Keras model's layers, in the graph that TensorFlow makes of it.

Keras 3 enters the scope of a layer twice, to build it and to call it. TensorFlow gives the second
scope a number, so that the layer ``conv`` of the model ``net`` computes in ``net_1/conv_1``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import count
from typing import Any

import tensorflow as tf

from graphquant_export.inputs.names import renamed_with_ends

_NUMBERED = re.compile(r"^(.+)_(\d+)$")
_VALUES = ("Const", "Placeholder")


def layer_names(model: Any) -> frozenset[str]:
    """Names of `model` and of every layer in it, those inside of other layers included."""
    flatten = getattr(model, "_flatten_layers", None)
    layers = [model, *getattr(model, "layers", ())] if flatten is None else flatten()
    return frozenset({model.name, *(layer.name for layer in layers)})


def named_as_in_model(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str], layers: Collection[str]
) -> tuple[tf.compat.v1.GraphDef, list[str]]:
    """`graph_def` with ``net/conv/…`` for ``net_1/conv_1/…``, and its output tensors.

    A layer that is called several times has its name in the first call, and numbers from 1 in the
    others.

    Args:
        graph_def: The nodes.
        outputs: Names of its output tensors.
        layers: Names of the layers.
    """
    children: dict[str, dict[str, None]] = defaultdict(dict)
    used: set[str] = set()
    for node in graph_def.node:
        for parent, scope in _scopes(node.name):
            children[parent][scope] = None
            # A variable is called by its layer alone.
            if node.op not in _VALUES:
                used.add(f"{parent}{scope}/")
    new = {"": ""}
    for parent in sorted(children, key=lambda name: name.count("/")):
        for scope, name in _shown(parent, children[parent], used, layers).items():
            new[f"{parent}{scope}/"] = f"{new[parent]}{name}/"
    names = {}
    for node in graph_def.node:
        scope, slash, own = node.name.rpartition("/")
        names[node.name] = new[scope + slash] + own
    return renamed_with_ends(graph_def, outputs, names)


def _scopes(name: str) -> Iterable[tuple[str, str]]:
    """("", "net"), ("net/", "conv") of ``net/conv/BiasAdd``."""
    parent = ""
    for scope in name.split("/")[:-1]:
        yield parent, scope
        parent += f"{scope}/"


def _shown(
    parent: str, scopes: Iterable[str], used: Collection[str], layers: Collection[str]
) -> dict[str, str]:
    """The name of each of `scopes`, which stand inside of `parent`."""

    def called(scope: str) -> tuple[str, int] | None:
        """The layer that `scope` is a call of, and the number of the scope."""
        found = _NUMBERED.match(scope)
        if found is None or found[1] not in layers:
            return None
        return found[1], int(found[2])

    calls: dict[str, list[tuple[int, str]]] = defaultdict(list)
    shown = {}
    for scope in scopes:
        call = called(scope)
        if call is None:
            shown[scope] = scope
        else:
            calls[call[0]].append((call[1], scope))
    # Only what computes is in the way: the constants of a layer may stand beside it.
    taken = {scope for scope in shown if f"{parent}{scope}/" in used}
    ordered = {layer: sorted(numbered) for layer, numbered in calls.items()}
    firsts = [(layer, numbered[0]) for layer, numbered in ordered.items()]
    others = [(layer, call) for layer, numbered in ordered.items() for call in numbered[1:]]
    for layer, (_, scope) in [*firsts, *others]:
        shown[scope] = next(name for name in _numbered(layer) if name not in taken)
        taken.add(shown[scope])
    return shown


def _numbered(name: str) -> Iterable[str]:
    yield name
    for number in count(1):
        yield f"{name}_{number}"
