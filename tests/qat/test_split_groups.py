"""Group convolutions by Split and Concat share one trained range, and are deployed as one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.graph.frozen import load_graph_def
from graphquant_core.record import read_record

v1 = tf.compat.v1


def group(x: tf.Tensor, case: str = "") -> tf.Tensor:
    """Two groups with bias; `case` makes them something else."""
    parts = tf.split(tf.nn.relu(x), 2, axis=3, name="g/split")
    done = []
    for index, part in enumerate(parts):
        weight = v1.get_variable(
            f"w{index}",
            initializer=np.float32(np.random.default_rng(index).normal(size=(3, 3, 3, 4))),
        )
        y = tf.nn.conv2d(part * 2.0 if case == "scaled parts" else part, weight, 1, "SAME",
                         name=f"g/conv{index}")  # fmt: skip
        done.append(tf.nn.bias_add(y, np.linspace(-1, 1, 4, dtype=np.float32)))
    if case == "added":
        return done[0] + done[1]
    joined = tf.concat(done, 3, name="g/concat")
    return joined + tf.reduce_mean(parts[1]) if case == "part taken twice" else joined


@attrs.frozen(eq=False)
class Trained:
    """A rewritten graph, its clip variables, and the quantised model that came of it."""

    graph: tf.Graph
    clips: list[Any]
    record: Any
    quantized: Any
    expected: np.ndarray
    x: np.ndarray


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Trained]:
    """Rewrites, calibrates, freezes and saves ``y = build(x)``."""

    def run(case: str = "", change: Callable[[dict[str, Any]], None] = lambda config: None) -> Any:
        config_file, record_file = tmp_path / "c.json", tmp_path / "r.txt"
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [4, 6, 6, 6], "x")
            y = tf.identity(group(x, case), name="y")
            amct.create_quant_retrain_config(str(config_file), graph)
            config = json.loads(config_file.read_text())
            change(config)
            config_file.write_text(json.dumps(config))
            ops = amct.create_quant_retrain_model(graph, str(config_file), str(record_file))
            clips = [v for v in v1.trainable_variables() if "ULQ" in v.op.name]
            gradients = tf.gradients(tf.reduce_sum(y**2), clips)
            data = np.random.default_rng(3).normal(size=(4, 6, 6, 6)).astype(np.float32)
            data[..., 3:] *= 4
            with v1.Session() as session:
                session.run(v1.global_variables_initializer())
                assert all(np.isfinite(g).all() for g in session.run(gradients, {x: data}))
                session.run(ops[-1])
                expected = session.run(y, {x: data})
                frozen = v1.graph_util.convert_variables_to_constants(
                    session, graph.as_graph_def(), ["y"]
                )
        pb = tmp_path / "frozen.pb"
        pb.write_bytes(frozen.SerializeToString())
        amct.save_quant_retrain_model(str(pb), ["y"], str(record_file), str(tmp_path / "m"))
        quantized = load_graph_def(tmp_path / "m_quantized.pb")
        return Trained(graph, clips, read_record(record_file), quantized, expected, data)

    return run


def deployed(trained: Trained) -> np.ndarray:
    with tf.Graph().as_default(), v1.Session() as session:
        (y,) = tf.import_graph_def(trained.quantized, return_elements=["y:0"], name="")
        return session.run(y, {"x:0": trained.x})


def quants(trained: Trained) -> int:
    return sum(node.op == "AscendQuant" for node in trained.quantized.node)


def test_a_group_has_one_range_and_becomes_one_pattern(train: Callable[..., Trained]) -> None:
    """One range before the Split; AscendQuant -> Split -> {Conv2D}* -> Concat -> Dequant."""
    trained = train()
    assert len(trained.clips) == 1  # the lower end stays at the 0.0 of the Relu before the Split
    assert "Fake" in trained.graph.get_operation_by_name("g/split").inputs[1].op.type
    factors = [(f.scale_d, f.offset_d) for f in trained.record.values()]
    assert list(trained.record) == ["g/conv0", "g/conv1"]
    assert factors[0] == factors[1]
    assert factors[0][1] == -128
    nodes = {node.name: node for node in trained.quantized.node}
    assert nodes[nodes["g/split"].input[1]].op == "AscendQuant"
    assert sum(node.op == "AscendDequant" for node in nodes.values()) == quants(trained) == 1
    assert not any("FakeQuant" in node.op for node in nodes.values())
    # Only the roundings of the bias are between them: half a step of the sums.
    step = factors[0][0] * max(f.scale_w.max() for f in trained.record.values())
    assert np.abs(deployed(trained) - trained.expected).max() <= 0.51 * step + 1e-5


def one_off(config: dict[str, Any]) -> None:
    config["g/conv1"]["retrain_enable"] = False


def another_range(config: dict[str, Any]) -> None:
    config["g/conv1"]["retrain_data_config"] |= {"clip_max": 9.0, "clip_min": -0.5}


@pytest.mark.parametrize(
    ("case", "change", "count"),
    [
        ("part taken twice", lambda config: None, 2),
        ("scaled parts", lambda config: None, 2),
        ("added", lambda config: None, 2),
        ("", one_off, 1),
        ("", another_range, 2),
    ],
)
def test_what_is_no_group_has_a_range_for_each_layer(
    train: Callable[..., Trained], case: str, change: Callable[..., None], count: int
) -> None:
    """The Split stays float: something else takes a part, or the layers are configured apart."""
    trained = train(case, change)
    assert len({factors.scale_d for factors in trained.record.values()}) == count
    assert len(trained.clips) == 2 * count
    assert trained.graph.get_operation_by_name("g/split").inputs[1].op.type == "Relu"
    assert quants(trained) == count
    error = np.abs(deployed(trained) - trained.expected)
    assert error.mean() < 1e-3 * np.ptp(trained.expected)


def test_rewriting_a_group_twice_changes_nothing(tmp_path: Path) -> None:
    """The second call on the same graph leaves the quantised Split as it is."""
    config_file, record_file = str(tmp_path / "c.json"), str(tmp_path / "r.txt")
    with tf.Graph().as_default() as graph:
        tf.identity(group(v1.placeholder(tf.float32, [4, 6, 6, 6], "x")), name="y")
        amct.create_quant_retrain_config(config_file, graph)
        amct.create_quant_retrain_model(graph, config_file, record_file)
        before = graph.get_operation_by_name("g/split").inputs[1].name
        added = amct.create_quant_retrain_model(graph, config_file, record_file)
    assert len(added) == 1
    assert graph.get_operation_by_name("g/split").inputs[1].name == before
