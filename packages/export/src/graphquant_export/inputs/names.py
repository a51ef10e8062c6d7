"""Names as a user knows them, in a graph that came out of functions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import tensorflow as tf

from graphquant_core.graph.frozen import tensor_name

_CALL_PREFIX = re.compile(r"^(?:(?:Stateful)?PartitionedCall(?:_\d+)?/)+(?=.)")
_PASSED_VALUE = re.compile(r"^Func/.*/(?:in|out)put/_\d+$")
_REFERENCE = re.compile(r"^(\^?)([^:]*)(:\d+)?$")


def rename_nodes(
    graph_def: tf.compat.v1.GraphDef, names: Mapping[str, str]
) -> tf.compat.v1.GraphDef:
    """`graph_def` with nodes renamed; one whose new name another node has keeps its own.

    Args:
        graph_def: The nodes.
        names: New names by old ones.
    """
    renamed = _free_names([node.name for node in graph_def.node], names)
    result = tf.compat.v1.GraphDef()
    result.CopyFrom(graph_def)
    for node in result.node:
        node.name = renamed.get(node.name, node.name)
        node.input[:] = [_renamed(reference, renamed) for reference in node.input]
        node.attr.pop("_class", None)
    return result


def without_traces_of_calls(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]
) -> tuple[tf.compat.v1.GraphDef, list[str]]:
    """`graph_def`, whose calls TensorFlow inlined, with the names that the functions' ops had.

    The prefixes of calls go where the rest of the name is free; the ops that carried arguments and
    results go altogether, and so do control edges from ops that do nothing.

    Args:
        graph_def: The nodes.
        outputs: Names of its output tensors.

    Returns:
        The graph, and the output tensors in it.
    """
    carried = {
        tensor_name(f"{node.name}:{index}"): tensor_name(taken)
        for node in graph_def.node
        if node.op == "IdentityN" or (node.op == "Identity" and _PASSED_VALUE.match(node.name))
        for index, taken in enumerate(node.input)
        if not taken.startswith("^")
    }
    # They keep the order of reads and writes, and a frozen graph writes nothing.
    waits = {f"^{node.name}" for node in graph_def.node if node.op == "NoOp"}
    result = tf.compat.v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        if node.name not in carried:
            added = result.node.add()
            added.CopyFrom(node)
            kept = [name for name in node.input if name not in waits]
            added.input[:] = [_origin(name, carried) for name in kept]
    ends = [_origin(output, carried) for output in outputs]
    stripped = {node.name: _CALL_PREFIX.sub("", node.name) for node in result.node}
    return renamed_with_ends(result, ends, stripped)


def renamed_with_ends(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str], names: Mapping[str, str]
) -> tuple[tf.compat.v1.GraphDef, list[str]]:
    """As `rename_nodes`, and the output tensors by their new names.

    Args:
        graph_def: The nodes.
        outputs: Names of its output tensors.
        names: New names by old ones.
    """
    renamed = _free_names([node.name for node in graph_def.node], names)
    return rename_nodes(graph_def, renamed), [_renamed(output, renamed) for output in outputs]


def _origin(reference: str, carried: Mapping[str, str]) -> str:
    if reference.startswith("^"):
        name = reference[1:]
        while name in carried:
            name = carried[name].partition(":")[0]
        return f"^{name}"
    name = tensor_name(reference)
    while name in carried:
        name = carried[name]
    return name


def _free_names(old: Sequence[str], wanted: Mapping[str, str]) -> dict[str, str]:
    """The part of `wanted` after which every node still has a name of its own."""
    new = {name: wanted.get(name, name) for name in old}
    while True:
        counts = Counter(new.values())
        clashing = [name for name in old if counts[new[name]] > 1 and new[name] != name]
        if not clashing:
            return {name: target for name, target in new.items() if target != name}
        new |= {name: name for name in clashing}


def _renamed(reference: str, names: Mapping[str, str]) -> str:
    found = _REFERENCE.match(reference)
    assert found is not None
    caret, name, index = found.groups()
    return f"{caret}{names.get(name, name)}{index or ''}"
