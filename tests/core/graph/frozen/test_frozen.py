"""Frozen graphs: reading, checking and editing them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format

from graphquant_core.exceptions import ModelFileError, OutputNotFoundError
from graphquant_core.graph.frozen import (
    GraphDefEditor,
    check_outputs,
    evaluate_constants,
    import_frozen,
    load_graph_def,
)
from graphquant_core.graph.frozen.node_def import attribute_value, const_node, node_def

v1 = tf.compat.v1


@pytest.fixture
def graph_def():
    """a -> b -> c, where c also takes a and waits for b."""
    nodes = [
        const_node("s/a", np.float32(1)),
        node_def("s/b", "Neg", ["s/a"], T=tf.float32),
        node_def("s/c", "Add", ["s/b", "s/a", "^s/b"], T=tf.float32),
        node_def("unused", "Neg", ["s/a"], T=tf.float32),
    ]
    return v1.GraphDef(node=nodes)


@pytest.mark.parametrize("suffix", [".pb", ".pbtxt"])
def test_a_graph_is_read_from_binary_and_from_text(tmp_path, graph_def, suffix):
    """load_graph_def reads back what was written, in both formats."""
    path = tmp_path / f"model{suffix}"
    if suffix == ".pb":
        path.write_bytes(graph_def.SerializeToString())
    else:
        path.write_text(text_format.MessageToString(graph_def))
    assert load_graph_def(path) == graph_def


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.pb", b""),
        ("noise.pb", bytes(range(256))),
        ("text.pb", b"node { name: 'a' }"),
        ("noise.pbtxt", b"node {"),
        ("latin.pbtxt", b"\xff"),
        ("enum.pbtxt", b'node { attr { key: "T" value { type: 99999999999999999999 } } }'),
        ("deep.pbtxt", b'node { attr { value { func { attr { key: "a" value { ' * 5000),
        ("nodes.pb", v1.GraphDef(node=[v1.NodeDef(name="a")]).SerializeToString()),
    ],
)
def test_a_file_that_is_no_graph_is_refused(tmp_path, name, content):
    """Whatever else a file holds, the error names the argument and the path."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=rf"pb_model \(.*{name}\) is not a GraphDef"):
        load_graph_def(path)


def test_a_missing_file_and_a_directory_are_refused(tmp_path):
    """A path that can't be read is an error with the argument and the path."""
    for path in (tmp_path / "none.pb", tmp_path):
        with pytest.raises(ModelFileError, match="pb_model"):
            load_graph_def(path)


def test_nodes_that_tensorflow_does_not_know_are_refused():
    """A graph that can't be imported is a ModelFileError."""
    with pytest.raises(ModelFileError, match="cannot be imported"):
        import_frozen(v1.GraphDef(node=[node_def("a", "NoSuchOp")]))


def test_outputs_may_have_an_index(graph_def):
    """The names "op" and "op:0" mean the same output, which counts once."""
    assert check_outputs(graph_def, ["s/c:0", "s/b", "s/c"]) == ("s/c", "s/b")
    with pytest.raises(OutputNotFoundError):
        check_outputs(graph_def, ["s/c", None])
    with pytest.raises(OutputNotFoundError, match='"s/c:1" is not the first output'):
        check_outputs(graph_def, ["s/b", "s/c:1"])


def test_constants_are_evaluated_however_they_are_computed(graph_def):
    """A chain of ops on constants has the value that TensorFlow computes."""
    graph = import_frozen(graph_def)
    tensors = [graph.get_tensor_by_name(f"s/{name}:0") for name in "abc"]
    assert [float(value) for value in evaluate_constants(graph, tensors)] == [1, -1, 0]


@pytest.mark.parametrize("size", [3, 4096])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
@pytest.mark.parametrize("as_nodes", [False, True])
def test_large_constants_are_evaluated_as_small_ones_are(size, dtype, as_nodes):
    """What tensors of large constants are, alone and computed, is what a session says they are."""
    numbers = np.random.default_rng(0).normal(0, 100, (size, 2)).astype(dtype)
    with tf.Graph().as_default() as graph:
        constant = tf.constant(numbers, name="numbers")
        tensors = [tf.identity(constant), tf.reduce_sum(constant, 0), tf.abs(constant)[::2]]
        with v1.Session() as session:
            expected = session.run(tensors)
    graph_def = graph.as_graph_def() if as_nodes else None
    found = evaluate_constants(graph, tensors, graph_def=graph_def)
    replaced = evaluate_constants(graph, tensors, {"numbers:0": -2 * numbers}, graph_def)
    for value, doubled, wanted, sign in zip(found, replaced, expected, (-2, -2, 2), strict=True):
        np.testing.assert_array_equal(value, wanted)
        np.testing.assert_allclose(doubled, sign * wanted, rtol=1e-6)


def test_what_depends_on_data_has_no_constant_value():
    """Evaluating a placeholder is a ModelFileError that names it."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [], name="fed")
    with pytest.raises(ModelFileError, match="fed:0"):
        evaluate_constants(graph, [x])


def test_an_editor_rewires_by_name(graph_def):
    """consumers lists every taker of a tensor; set_input changes one of them."""
    editor = GraphDefEditor(graph_def)
    assert editor.consumers("s/a:0") == [("s/b", 0), ("s/c", 1), ("unused", 0)]
    editor.set_input("s/c", 1, "s/b:0")
    assert editor.consumers("s/a") == [("s/b", 0), ("unused", 0)]
    assert editor.consumers("s/b") == [("s/c", 0), ("s/c", 1)]
    assert graph_def.node[2].input[1] == "s/a"


def test_control_edges_move_with_what_is_folded(graph_def):
    """Who waits for a folded op waits for what replaces it."""
    editor = GraphDefEditor(graph_def)
    editor.move_control_edges("s/b", "s/a")
    assert list(editor.node("s/c").input) == ["s/b", "s/a", "^s/a"]


def test_names_are_made_unique_as_tensorflow_does(graph_def):
    """A name is taken when a node or a scope has it, whatever its case."""
    editor = GraphDefEditor(graph_def)
    assert editor.unique_name("t") == "t"
    assert editor.unique_name("S") == "S_1"
    assert editor.unique_name("s/a") == "s/a_1"
    editor.add(const_node("s/a_1/x", np.float32(0)))
    assert editor.unique_name("s/a") == "s/a_2"


def test_a_renamed_node_keeps_its_place_and_its_inputs(graph_def):
    """rename changes one name; who takes the old one is left to the caller."""
    editor = GraphDefEditor(graph_def)
    editor.rename("s/b", "s/new")
    editor.set_input("s/c", 0, "s/new")
    editor.set_input("s/c", 2, "^s/new")
    assert [node.name for node in editor.graph_def(["s/c"]).node] == ["s/a", "s/new", "s/c"]
    assert editor.consumers("s/a") == [("s/c", 1), ("unused", 0), ("s/new", 0)]


def test_only_what_the_outputs_need_is_left(graph_def):
    """Nodes that no output needs are gone, and with them the colocation to them."""
    graph_def.node[1].attr["_class"].list.s.append(b"loc:@unused")
    pruned = GraphDefEditor(graph_def).graph_def(["s/c"])
    assert [node.name for node in pruned.node] == ["s/a", "s/b", "s/c"]
    assert "_class" not in pruned.node[1].attr


@pytest.mark.parametrize("value", [None, [None], object()])
def test_an_attribute_of_no_known_kind_is_refused(value):
    """A Python value that no attribute holds is a TypeError."""
    with pytest.raises(TypeError, match="no attribute holds"):
        attribute_value(value)


def test_reading_a_record_starts_no_tensorflow():
    """The package, its record and its plugin are imported without TensorFlow."""
    program = (
        "import sys, graphquant_export, graphquant_export.plugin as p; p.graphquant_exporters(); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
