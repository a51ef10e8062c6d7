"""Conditions that a value decides, and what training left in frozen graphs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from graphquant_core import load_registry
from graphquant_core.exceptions import (
    ConfigError,
    RangeError,
    UnknownNameError,
    UnsupportedLayerError,
)
from graphquant_core.graph.frozen import import_frozen, load_graph_def
from graphquant_export import export, quantize
from graphquant_export.inputs import LoadedModel, load_model, load_samples
from graphquant_export.inputs.propose import propose_inputs

v1 = tf.compat.v1

CONDITIONS = {"If", "Merge", "RefSwitch", "StatelessIf", "Switch"}
X = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype(np.float32)
KINDS = ["switch", "if"]


@pytest.fixture(autouse=True)
def _control_flow_of_tensorflow_2() -> Iterator[None]:
    yield
    v1.enable_control_flow_v2()
    v1.enable_resource_variables()


def _use(kind: str) -> None:
    """Lets tf.cond make Switches and Merges, or an If."""
    (v1.disable_control_flow_v2 if kind == "switch" else v1.enable_control_flow_v2)()


def _normalized(y: tf.Tensor, training: tf.Tensor, name: str) -> tf.Tensor:
    """Batch norm as many training scripts have it, with one graph for both."""
    size = y.shape[-1]
    random = np.random.default_rng(size)
    gamma, beta, mean = (random.normal(size=size).astype(np.float32) for _ in range(3))
    variance = random.uniform(0.5, 2, size).astype(np.float32)

    def train() -> tf.Tensor:
        return v1.nn.fused_batch_norm(y, gamma, beta)[0]

    def infer() -> tf.Tensor:
        return v1.nn.fused_batch_norm(y, gamma, beta, mean, variance, is_training=False)[0]

    return tf.cond(training, train, infer, name=name)


def _network(switch: Any) -> v1.GraphDef:
    """Two layers with batch norm and dropout, which `switch` and ``keep_prob`` turn on."""
    random = np.random.default_rng(1)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 2], "x")
        training = switch()
        keep = v1.placeholder(tf.float32, [], "keep_prob")
        weight = random.normal(size=(3, 3, 2, 8)).astype(np.float32)
        y = tf.nn.conv2d(x, weight, 1, "SAME", name="conv")
        y = tf.nn.relu(_normalized(y, training, "norm"))
        y = v1.nn.dropout(tf.reduce_mean(y, [1, 2]), keep_prob=keep)
        tf.matmul(y, random.normal(size=(8, 4)).astype(np.float32), name="out")
    return graph.as_graph_def()


def _placeholder() -> tf.Tensor:
    return v1.placeholder(tf.bool, [], "training")


def _default() -> tf.Tensor:
    return v1.placeholder_with_default(False, [], "training")


def _negated() -> tf.Tensor:
    return tf.logical_not(v1.placeholder_with_default(True, [], "inference"))


def _loaded(graph_def: v1.GraphDef, folder: Any, **arguments: Any) -> LoadedModel:
    (folder / "m.pb").write_bytes(graph_def.SerializeToString())
    return load_model(folder / "m.pb", **arguments)


def _run(graph: tf.Graph, feeds: Mapping[str, Any], output: str = "out") -> np.ndarray:
    with v1.Session(graph=graph) as session:
        return session.run(f"{output}:0", {f"{name}:0": value for name, value in feeds.items()})


def _types(model: LoadedModel) -> set[str]:
    return {node.op for node in model.graph_def.node}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_of_what_an_input_decides_the_branch_that_is_taken_is_left(tmp_path, kind, training):
    """The model computes what the graph does when that value is fed."""
    _use(kind)
    graph_def = _network(_placeholder)
    model = _loaded(graph_def, tmp_path, input_values={"training": training, "keep_prob": 1})
    assert (model.inputs, model.outputs) == (("x",), ("out",))
    assert not CONDITIONS & _types(model)
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    expected = _run(graph, {"x": X, "training": training, "keep_prob": 1})
    np.testing.assert_allclose(_run(model.graph(), {"x": X}), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("switch", [_default, _negated])
def test_a_default_decides_by_itself(tmp_path, caplog, kind, switch):
    """And is said, at the level INFO."""
    _use(kind)
    with caplog.at_level(logging.INFO, "graphquant_export"):
        model = _loaded(_network(switch), tmp_path)
    assert model.inputs == ("x", "keep_prob")
    assert not CONDITIONS & _types(model)
    name = "training" if switch is _default else "inference"
    assert f'the default of "{name}"' in caplog.text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_a_value_that_is_given_goes_before_the_default(tmp_path, kind, training):
    """Whether it is the same or another one."""
    _use(kind)
    graph_def = _network(_default)
    model = _loaded(graph_def, tmp_path, input_values={"training": training, "keep_prob": 1})
    assert model.inputs == ("x",)
    assert not CONDITIONS & _types(model)
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    expected = _run(graph, {"x": X, "training": training, "keep_prob": 1})
    np.testing.assert_allclose(_run(model.graph(), {"x": X}), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_may_begin_in_the_branch_that_is_taken(tmp_path, kind):
    """Whose ops have names once the condition is decided."""
    _use(kind)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 3], "x")
        training = v1.placeholder_with_default(False, [], "training")
        y = tf.cond(training, lambda: x, lambda: tf.exp(x, name="exp") * 2.0, name="c")
        tf.identity(y, name="out")
    model = _loaded(graph.as_graph_def(), tmp_path, inputs=["c/exp"])
    assert model.inputs == ("c/exp",)
    rows = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(_run(model.graph(), {"c/exp": rows}), rows * 2)


@pytest.mark.parametrize("target", ["litert", "mnn", "onnx"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_with_a_switch_for_training_reaches_every_target(tmp_path, kind, target):
    """With the batch norm folded, in integers."""
    pytest.importorskip({"litert": "ai_edge_litert", "mnn": "MNN", "onnx": "onnxruntime"}[target])
    _use(kind)
    values = {"training": False, "keep_prob": 1}
    model = _loaded(_network(_placeholder), tmp_path, input_values=values)
    artifact = export(model, quantize(model, {"x": X}, target), target, tmp_path / "q")
    executions = load_registry().exporter(target).runtime(artifact).executions()
    assert [row.execution for row in executions] == ["int8", "int8"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_that_is_left_names_what_decides_it(tmp_path, kind):
    """LiteRT and MNN take none; `plan` proposes the same."""
    _use(kind)
    model = _loaded(_network(_placeholder), tmp_path)
    proposed = propose_inputs(model)
    assert proposed.input_values == {"training": False}
    assert proposed.decided is not None
    assert proposed.decided[0].startswith("norm")
    feeds = {"x": X, "training": np.array(False), "keep_prob": np.array(1.0)}
    record = quantize(model, feeds, ["litert", "mnn"])
    for target in ("litert", "mnn"):
        with pytest.raises(UnsupportedLayerError, match=r'give "training", which decides it'):
            export(model, record, target, tmp_path / "q")


def _moving_average(kind: str, references: bool) -> tuple[v1.GraphDef, np.ndarray]:
    """A graph that keeps moving averages in its branch for training, frozen; and what it gave."""
    _use(kind)
    (v1.disable_resource_variables if references else v1.enable_resource_variables)()
    random = np.random.default_rng(2)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 2], "x")
        training = v1.placeholder_with_default(False, [], "training")
        y = tf.nn.conv2d(x, random.normal(size=(3, 3, 2, 8)).astype(np.float32), 1, "SAME")
        mean, variance = tf.nn.moments(y, [0, 1, 2])
        means = v1.get_variable("mean", [8]), v1.get_variable("variance", [8])

        def train() -> tuple[tf.Tensor, tf.Tensor]:
            changes = zip(means, (mean, variance), strict=True)
            kept = [v1.assign_sub(old, (old - new) * 0.5) for old, new in changes]
            with tf.control_dependencies(kept):
                return tf.identity(mean), tf.identity(variance)

        def infer() -> tuple[tf.Tensor, tf.Tensor]:
            return tf.identity(means[0]), tf.identity(means[1])

        mean, variance = tf.cond(training, train, infer)
        tf.nn.batch_normalization(y, mean, tf.abs(variance), None, None, 1e-3, name="out")
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            session.run("out/add_1:0", {x: X, training: True})
            expected = session.run("out/add_1:0", {x: X})
            frozen = v1.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), ["out/add_1"]
            )
    return frozen, expected


@pytest.mark.parametrize(
    ("kind", "references"), [("switch", True), ("switch", False), ("if", False)]
)
def test_moving_averages_that_were_frozen_with_the_graph_are_no_trouble(tmp_path, kind, references):
    """TensorFlow refuses such a graph: "float_ref", or "resource", is expected."""
    graph_def, expected = _moving_average(kind, references)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="expected"):
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
        _run(graph, {"x": X, "training": True}, "out/add_1")
    model = _loaded(graph_def, tmp_path)
    assert (model.inputs, model.outputs) == (("x",), ("out/add_1",))
    np.testing.assert_allclose(_run(model.graph(), {"x": X}, "out/add_1"), expected, atol=1e-6)
    (tmp_path / "m.pb").write_bytes(graph_def.SerializeToString())
    graph = import_frozen(load_graph_def(tmp_path / "m.pb"))
    again = _run(graph, {"x": X, "training": False}, "out/add_1")
    np.testing.assert_allclose(again, expected, atol=1e-6)


BOOLEANS = ("a", "b", "c")


def _trees(depth: int) -> st.SearchStrategy[Any]:
    """Nested conditions as (which boolean, whether negated, then, else); a leaf is a factor."""
    leaf = st.integers(1, 9)
    if depth == 0:
        return leaf
    inner = _trees(depth - 1)
    return leaf | st.tuples(st.sampled_from(BOOLEANS), st.booleans(), inner, inner)


def _built(tree: Any, x: tf.Tensor, booleans: Mapping[str, tf.Tensor]) -> tf.Tensor:
    if isinstance(tree, int):
        return x * float(tree)
    name, negated, then, otherwise = tree
    predicate = tf.logical_not(booleans[name]) if negated else booleans[name]
    passed = x + 1.0
    return 0.5 + tf.cond(
        predicate,
        lambda: _built(then, passed, booleans) + x,
        lambda: _built(otherwise, passed, booleans),
    )


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(
    tree=_trees(3),
    values=st.tuples(*[st.booleans() for _ in BOOLEANS]),
    known=st.sets(st.sampled_from(BOOLEANS)),
)
def test_nested_conditions_are_taken_as_tensorflow_takes_them(
    tmp_path_factory, kind, tree, values, known
):
    """Of any of three booleans: those that have a value decide, the others are fed."""
    _use(kind)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None], "x")
        booleans = {name: v1.placeholder(tf.bool, [], name) for name in BOOLEANS}
        tf.identity(_built(tree, x, booleans), name="out")
    fed = dict(zip(BOOLEANS, values, strict=True))
    numbers = np.array([1.0, 2.0], np.float32)
    expected = _run(graph, {"x": numbers, **fed})
    plain = _loaded(graph.as_graph_def(), tmp_path_factory.mktemp("m"), outputs=["out"])
    given_values = {name: fed[name] for name in sorted(known) if name in plain.inputs}
    model = _loaded(
        graph.as_graph_def(),
        tmp_path_factory.mktemp("m"),
        outputs=["out"],
        input_values=given_values,
    )
    assert not set(given_values) & set(model.inputs)
    if known == set(BOOLEANS):
        assert not CONDITIONS & _types(model)
    feeds = {name: fed[name] for name in model.inputs if name != "x"}
    np.testing.assert_array_equal(_run(model.graph(), {"x": numbers, **feeds}), expected)


def test_which_branch_was_taken_is_known(tmp_path):
    """A Merge tells its place, too."""
    _use("switch")
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None], "x")
        switched = v1.raw_ops.Switch(data=x, pred=v1.placeholder(tf.bool, [], "training"))
        places = [tf.exp(switched.output_false), tf.sin(switched.output_true)]
        merged = v1.raw_ops.Merge(inputs=places)
        tf.multiply(merged.output, tf.cast(merged.value_index, tf.float32) + 5.0, name="out")
    for training, expected in ((False, np.exp(2.0) * 5), (True, np.sin(2.0) * 6)):
        model = _loaded(graph.as_graph_def(), tmp_path, input_values={"training": training})
        found = _run(model.graph(), {"x": [2.0]})
        np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_what_is_in_the_other_branch_is_no_output(tmp_path):
    """The error names it and the condition."""
    _use("switch")
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None], "x")
        training = v1.placeholder(tf.bool, [], "training")
        loss = tf.cond(training, lambda: tf.exp(x, name="loss"), lambda: x, name="c")
        tf.identity(loss, name="out")
    with pytest.raises(ConfigError, match=r'outputs: "c/loss" .* never taken \(that of "c/'):
        _loaded(
            graph.as_graph_def(), tmp_path, outputs=["c/loss"], input_values={"training": False}
        )


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ({"trainig": False}, UnknownNameError, 'no input "trainig"; did you mean "training"'),
        ({"training": [False, True]}, RangeError, 'input_values: the value of "training"'),
        ({"training": 0.5}, RangeError, "does not fit into bool"),
        ({"x": X, "training": False, "keep_prob": 1}, ConfigError, "no input is left"),
        (["training"], ConfigError, "must map names of inputs to values"),
    ],
)
def test_a_value_that_no_input_takes_is_named(tmp_path, values, error, said):
    """With what is allowed."""
    with pytest.raises(error) as caught:
        _loaded(_network(_placeholder), tmp_path, input_values=values)
    assert said in str(caught.value)


def test_one_array_is_for_the_input_without_a_default(tmp_path):
    """Which the other inputs have."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 3], "x")
        tf.multiply(x, v1.placeholder_with_default(2.0, [], "scale"), name="out")
    model = _loaded(graph.as_graph_def(), tmp_path)
    rows: Sequence[Any] = np.ones((4, 3), np.float32)
    np.save(tmp_path / "x.npy", rows)
    assert list(load_samples(tmp_path / "x.npy", model)) == ["x"]


def test_the_outcome_of_a_condition_is_no_output(tmp_path):
    """TensorFlow passes it on into each branch, for what is constant there to wait for."""
    _use("switch")
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None], "x")
        training = v1.placeholder(tf.bool, [], "training")
        y = tf.cond(training, lambda: tf.exp(x), lambda: tf.sin(x))
        tf.identity(y, name="out")
    assert _loaded(graph.as_graph_def(), tmp_path).outputs == ("out",)
