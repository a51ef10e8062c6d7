"""The float model as teacher in a training graph: what its loss is, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import (
    ConfigError,
    FinalizedGraphError,
    GraphQuantError,
    ModelFileError,
    OutputNotFoundError,
    UnknownNameError,
)
from graphquant_core.graph import plan_graph
from graphquant_core.graph.distillation import distillation_loss

v1 = tf.compat.v1
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(8, 4)).astype(np.float32)
WEIGHTS = {name: RANDOM.normal(size=(4, 3)).astype(np.float32) for name in ("teacher", "student")}
LABELS = np.arange(8) % 3


def build(weight: np.ndarray, training: bool = True) -> tf.Graph:
    """Class scores, and values beside them; a training graph has labels and no softmax."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4], "x")
        v1.get_variable("unused", initializer=0.0)
        logits = tf.matmul(x, v1.get_variable("w", initializer=weight), name="layer")
        tf.sin(logits, name="values")
        if training:
            labels = v1.placeholder(tf.int64, [None], "labels")
            v1.losses.sparse_softmax_cross_entropy(labels, logits)
        else:
            tf.nn.softmax(logits, name="prob")
    return graph


def saved(graph: tf.Graph, folder: Path) -> str:
    with graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        return str(v1.train.Saver().save(session, str(folder / "float.ckpt")))


def frozen(graph: tf.Graph, *outputs: str) -> tf.compat.v1.GraphDef:
    with graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        return v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), list(outputs)
        )


def teacher(*outputs: str) -> tf.compat.v1.GraphDef:
    return frozen(build(WEIGHTS["teacher"], training=False), *outputs)


def value(graph: tf.Graph, loss: tf.Tensor, **feeds: Any) -> float:
    with graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        fed = {"x:0": X, **{f"{name}:0": given for name, given in feeds.items()}}
        return float(session.run(loss, fed))


def logits_of(name: str) -> np.ndarray:
    return X.astype(np.float64) @ WEIGHTS[name]


def divergence() -> float:
    """T² KL(softmax(t / T) || softmax(s / T)), T = 2, the mean over the rows."""
    p, q = (
        np.exp(z) / np.exp(z).sum(-1, keepdims=True)
        for z in (logits_of("teacher") / 2, logits_of("student") / 2)
    )
    return float(4 * np.mean(np.sum(p * np.log(p / q), -1)))


def relative(t: np.ndarray, s: np.ndarray) -> float:
    return float(np.sum((t - s) ** 2) / np.sum((t - t.mean(0)) ** 2))


SINES = relative(np.sin(logits_of("teacher")), np.sin(logits_of("student")))


@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [
        ({"prob": "layer"}, divergence()),  # what a softmax takes, against logits
        ({"layer:0": "layer:0"}, divergence()),  # of which the labels' loss says what they are
        (["values"], SINES),
        ({"prob": "layer", "values": "values"}, (divergence() + SINES) / 2),
    ],
)
def test_losses_are_those_of_float64(outputs: Any, wanted: float) -> None:
    """The mean over the outputs; nothing where the answers are the same."""
    given = teacher(*(name.partition(":")[0] for name in outputs))
    for weight, expected in ((WEIGHTS["student"], wanted), (WEIGHTS["teacher"], 0)):
        graph = build(weight)
        loss = distillation_loss(given, outputs, graph=graph)
        assert loss.shape.rank == 0
        assert value(graph, loss) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_logits_that_no_loss_of_labels_takes_count_as_values_too() -> None:
    """A graph whose logits are its answer may need them as they are."""
    graph = build(WEIGHTS["student"], training=False)
    for op in (graph.get_operation_by_name("prob"),):
        op._update_input(0, graph.get_tensor_by_name("values:0"))
    loss = distillation_loss(teacher("layer"), ["layer"], graph=graph)
    wanted = divergence() + relative(logits_of("teacher"), logits_of("student"))
    assert value(graph, loss) == pytest.approx(wanted, rel=1e-5)


def test_a_teacher_may_be_a_graph_its_frozen_form_or_a_file(tmp_path: Path) -> None:
    """One loss of all; the graph that was built for inference stays as it is."""
    own = build(WEIGHTS["teacher"], training=False)
    checkpoint = saved(own, tmp_path)
    own.finalize()
    graph_def = teacher("prob")
    path = tmp_path / "float.pb"
    path.write_bytes(graph_def.SerializeToString())
    found = []
    for given, more in ((own, {"checkpoint": checkpoint}), (graph_def, {}), (path, {})):
        graph = build(WEIGHTS["student"])
        loss = distillation_loss(given, {"prob": "layer"}, graph=graph, **more)
        found.append(value(graph, loss))
    assert found == pytest.approx([divergence()] * 3, rel=1e-5)


def test_nothing_of_the_teacher_is_trained_saved_quantised_or_frozen() -> None:
    """The variables, the trained ones, the plan and the frozen model are as without it."""
    graph = build(WEIGHTS["student"])
    before = plan_graph(graph)
    loss = distillation_loss(teacher("prob"), {"prob": "layer"}, graph=graph)
    with graph.as_default():
        step = v1.train.GradientDescentOptimizer(0.5).minimize(loss)
        names = [variable.op.name for variable in v1.global_variables()]
        assert names == ["unused", "w"]
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            for _ in range(400):
                session.run(step, {"x:0": X})
            learned = session.run(loss, {"x:0": X})
            left = v1.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), ["values"]
            )
    assert learned < 0.01 * divergence()
    assert plan_graph(graph).layers == before.layers
    assert {node.name for node in left.node} == {
        node.name for node in frozen(build(WEIGHTS["student"]), "values").node
    }


def test_there_may_be_several_teachers() -> None:
    """Each call has its own scope, and its answers are those of its own teacher."""
    graph = build(WEIGHTS["student"])
    first, same, last = (
        distillation_loss(
            frozen(build(WEIGHTS[name], training=False), "prob"), {"prob": "layer"}, graph=graph
        )
        for name in ("teacher", "student", "teacher")
    )
    assert value(graph, first) == value(graph, last) == pytest.approx(divergence(), rel=1e-5)
    assert value(graph, same) == pytest.approx(0, abs=1e-6)


def test_a_monitored_session_takes_it_as_it_is(tmp_path: Path) -> None:
    """Nothing has to be initialised, and checkpoints hold the model's own variables."""
    with build(WEIGHTS["student"]).as_default():
        loss = distillation_loss(teacher("prob"), {"prob": "layer"})
        step = v1.train.get_or_create_global_step()
        train = v1.train.GradientDescentOptimizer(0.5).minimize(loss, step)
        with v1.train.MonitoredTrainingSession(
            checkpoint_dir=str(tmp_path), log_step_count_steps=None
        ) as session:
            first, _ = session.run([loss, train], {"x:0": X})
            second = session.run(loss, {"x:0": X})
    assert second < first == pytest.approx(divergence(), rel=1e-5)
    known = v1.train.load_checkpoint(str(tmp_path)).get_variable_to_shape_map()
    assert set(known) == {"unused", "w", "global_step"}


def with_inputs(training: bool = False) -> tf.Graph:
    """A model that is told how much to keep, and whether it trains."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4], "images" if training else "x")
        keep = v1.placeholder(tf.float32, [], "keep_prob")
        default = v1.placeholder_with_default(1.0, [], "share")
        flag = v1.placeholder(tf.bool, [], "training")
        y = tf.where(flag, x * 0.0, x) * keep * default
        tf.matmul(y, v1.get_variable("w", initializer=WEIGHTS["teacher"]), name="layer")
    return graph


def test_inputs_are_found_by_name_or_given() -> None:
    """A tensor, a name or a value; a default is what inference feeds, and flags are asked for."""
    given = frozen(with_inputs(), "layer")
    graph = with_inputs(training=True)
    images = graph.get_tensor_by_name("images:0")
    fed = {"images": X, "keep_prob": 0.0, "training": True, "share": 0.0}
    answers = relative(logits_of("teacher"), np.zeros((8, 3)))
    for said in (images, "images", "images:0"):
        with graph.as_default():
            loss = distillation_loss(
                given,
                {"layer": tf.stack([tf.sin(graph.get_tensor_by_name("layer:0"))])[0]},
                inputs={"x": said, "keep_prob:0": 1.0, "training": False},
            )
            with v1.Session() as session:
                session.run(v1.global_variables_initializer())
                found = session.run(loss, {f"{name}:0": v for name, v in fed.items()})
        p = np.exp(logits_of("teacher") / 2)
        p /= p.sum(-1, keepdims=True)
        entropy = 4 * np.mean(np.sum(p * np.log(p * 3), -1))
        assert found == pytest.approx(answers + entropy, rel=1e-5)


def reading() -> tf.compat.v1.GraphDef:
    """A model that reads its own images."""
    with tf.Graph().as_default() as graph:
        data = tf.data.Dataset.from_tensor_slices(X).batch(2)
        x = v1.data.make_one_shot_iterator(data).get_next(name="next")
        tf.nn.softmax(tf.matmul(x, WEIGHTS["teacher"]), name="prob")
    return graph.as_graph_def()


def test_a_teacher_that_reads_its_own_data_takes_the_graphs() -> None:
    """Nothing of its iterator is left."""
    graph = build(WEIGHTS["student"])
    x = graph.get_tensor_by_name("x:0")
    loss = distillation_loss(reading(), {"prob": "layer"}, inputs={"next": x}, graph=graph)
    assert value(graph, loss) == pytest.approx(divergence(), rel=1e-5)
    assert not [op.name for op in graph.get_operations() if "Iterator" in op.type]


@attrs.frozen
class Wrong:
    """A call that is refused: what is given, and what the error says."""

    error: type[GraphQuantError]
    says: str
    teacher: Callable[[], Any] = lambda: teacher("prob")
    outputs: Any = attrs.Factory(lambda: {"prob": "layer"})
    more: dict[str, Any] = attrs.Factory(dict)


def trains() -> tf.compat.v1.GraphDef:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 2, 2, 3], "x")
        y, _, _ = v1.nn.fused_batch_norm(x, tf.ones(3), tf.ones(3))
        tf.identity(y, "prob")
    return graph.as_graph_def()


def other(dtype: Any, shape: list[int | None], answer: Any = tf.float32) -> Any:
    def made() -> tf.compat.v1.GraphDef:
        with tf.Graph().as_default() as graph:
            tf.identity(tf.cast(v1.placeholder(dtype, shape, "x"), answer), name="prob")
        return graph.as_graph_def()

    return made


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong(ConfigError, r"^teacher \(int\)", lambda: 3),
        Wrong(ModelFileError, r"^teacher .*none\.pb", lambda: "none.pb"),
        Wrong(ConfigError, r"^checkpoint \('x'\) is for", more={"checkpoint": "x"}),
        Wrong(ConfigError, "needs its checkpoint", lambda: build(WEIGHTS["teacher"], False)),
        Wrong(
            ModelFileError,
            r'^checkpoint \("no/one"\)',
            lambda: build(WEIGHTS["teacher"], False),
            more={"checkpoint": "no/one"},
        ),
        Wrong(
            ModelFileError,
            'not frozen: "w"',
            lambda: build(WEIGHTS["teacher"], False).as_graph_def(),
        ),
        Wrong(ConfigError, "statistics of the batch", trains),
        Wrong(OutputNotFoundError, 'did you mean "prob"', outputs={"probs": "layer"}),
        Wrong(OutputNotFoundError, r"^outputs", outputs=[]),
        Wrong(OutputNotFoundError, r"^outputs \('prob'\)", outputs="prob"),
        Wrong(ConfigError, r"^inputs \(\['x'\]\) must be a dict", more={"inputs": ["x"]}),
        Wrong(OutputNotFoundError, 'the graph has no "prob".*dict', outputs=["prob"]),
        Wrong(OutputNotFoundError, 'did you mean "layer"', outputs={"prob": "layers"}),
        Wrong(ConfigError, r'^outputs\["prob"\] \(3\)', outputs={"prob": 3}),
        Wrong(ConfigError, "cannot be compared", outputs={"prob": "labels"}),
        Wrong(ConfigError, '"x" is one of its inputs', outputs={"x": "x"}),
        Wrong(ConfigError, "is no float32", other(tf.float32, [None, 4], tf.int32)),
        Wrong(UnknownNameError, 'did you mean "x"', more={"inputs": {"xx": 1.0}}),
        Wrong(ConfigError, r"reads its own data \(\"next\"\).*images", reading),
        Wrong(
            ConfigError,
            "of another graph",
            more={"inputs": {"x": build(WEIGHTS["teacher"]).get_tensor_by_name("x:0")}},
        ),
        Wrong(ConfigError, "float32", other(tf.int32, [None, 4])),
        Wrong(ConfigError, r"\(None, 5\)", other(tf.float32, [None, 5])),
        Wrong(ConfigError, r'^inputs\["x"\]', more={"inputs": {"x": "nothing"}}),
        Wrong(
            ConfigError,
            'called like the teacher\'s input "keep_prob".*own inputs are x, labels',
            lambda: frozen(with_inputs(), "layer"),
            ["layer"],
        ),
        Wrong(
            ConfigError,
            '"training" is a flag',
            lambda: frozen(with_inputs(), "layer"),
            ["layer"],
            {"inputs": {"keep_prob": 1.0}},
        ),
        Wrong(ConfigError, r"^graph \(str\)", more={"graph": "graph"}),
    ],
)
def test_what_does_not_fit_is_one_error(wrong: Wrong) -> None:
    """It names the argument, and what is there; what is trained is as before."""
    graph = build(WEIGHTS["student"])
    layers = plan_graph(graph).layers
    with graph.as_default(), pytest.raises(wrong.error, match=wrong.says):
        distillation_loss(wrong.teacher(), wrong.outputs, **wrong.more)
    assert plan_graph(graph).layers == layers
    assert {variable.op.name for variable in graph.get_collection("variables")} == {"unused", "w"}


def test_a_graph_that_is_finalised_takes_no_teacher() -> None:
    """As it takes nothing."""
    graph = build(WEIGHTS["student"])
    graph.finalize()
    with pytest.raises(FinalizedGraphError):
        distillation_loss(teacher("prob"), {"prob": "layer"}, graph=graph)
