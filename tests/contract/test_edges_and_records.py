"""What is quantised of a weight that others use too, and what a record holds whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.exceptions import EmptyRecordError, RecordError
from graphquant_core.record import read_record
from graphquant_wq import WeightQuantizer

v1 = tf.compat.v1
IMAGES = np.random.default_rng(1).normal(size=(4, 6, 6, 4)).astype(np.float32)


@attrs.frozen(eq=False)
class Trained:
    """What a short training left behind."""

    frozen: Path
    record_file: Path
    inputs: dict[str, str]


def build() -> tuple[tf.Tensor, tf.Tensor]:
    """Two convolutions that share a weight, of which the loss also takes the squares."""
    x = v1.placeholder(tf.float32, [None, 6, 6, 4], "x")
    kernel = v1.get_variable(
        "shared", [3, 3, 4, 4], initializer=v1.glorot_uniform_initializer(3), use_resource=True
    )
    y = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME", name="first"))
    y = tf.nn.relu(tf.nn.conv2d(y, kernel, 1, "SAME", name="second"), name="y")
    return y, tf.reduce_mean(tf.square(y - 1.0)) + 0.1 * tf.nn.l2_loss(kernel, name="decay")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Trained]:
    """Trains for three steps, anew with each call, always with the same seed."""

    def run() -> Trained:
        folder = tmp_path_factory.mktemp("trained")
        config_file, record_file = str(folder / "c.json"), str(folder / "r.txt")
        with tf.Graph().as_default() as graph:
            v1.set_random_seed(5)
            y, loss = build()
            amct.create_quant_retrain_config(config_file, graph)
            operations = amct.create_quant_retrain_model(graph, config_file, record_file)
            step = v1.train.GradientDescentOptimizer(0.01).minimize(loss)
            with v1.Session() as session:
                session.run(v1.global_variables_initializer())
                for _ in range(3):
                    session.run(step, {"x:0": IMAGES})
                session.run(operations[-1])
                constant = v1.graph_util.convert_variables_to_constants(
                    session, graph.as_graph_def(), [y.op.name]
                )
            inputs = {
                op.name: op.inputs[-1].op.name
                for op in graph.get_operations()
                if op.name in ("first", "second", "decay")
            }
        (folder / "frozen.pb").write_bytes(constant.SerializeToString())
        return Trained(folder / "frozen.pb", Path(record_file), inputs)

    return run


def test_a_weight_that_another_op_takes_too_is_quantised_for_the_layers_only(
    trained: Callable[[], Trained],
) -> None:
    """The weight decay goes on with the float weight; both layers take one fake-quantised one."""
    inputs = trained().inputs
    assert inputs["first"] == inputs["second"]
    assert "weight_quant" in inputs["first"]
    assert "weight_quant" not in inputs["decay"]


def test_a_weight_that_another_op_takes_too_is_quantised_for_mnns_layers_only() -> None:
    """As for AMCT's calls."""
    with tf.Graph().as_default() as graph:
        build()
        before = graph.get_operation_by_name("decay").inputs[0].name
        WeightQuantizer(graph, bits=4)
        assert graph.get_operation_by_name("decay").inputs[0].name == before
        first, second = (graph.get_operation_by_name(n).inputs[1] for n in ("first", "second"))
        assert first.name == second.name != before


def test_a_shared_weight_has_one_entry_for_each_layer_with_the_same_scales(
    trained: Callable[[], Trained],
) -> None:
    """N consumers, N entries, equal scale_w; scale_d is each layer's own."""
    record = read_record(trained().record_file)
    assert list(record) == ["first", "second"]
    np.testing.assert_array_equal(record["first"].scale_w, record["second"].scale_w)
    assert record["first"].scale_d != record["second"].scale_d


def test_the_same_graph_data_and_seed_give_the_same_record_byte_by_byte(
    trained: Callable[[], Trained],
) -> None:
    """Order of layers and form of numbers depend on nothing else."""
    assert trained().record_file.read_bytes() == trained().record_file.read_bytes()


def test_half_a_record_is_refused_wherever_it_ends(
    trained: Callable[[], Trained], tmp_path: Path
) -> None:
    """Writing it from a session cannot be one step on the disk; so what an interruption leaves
    never becomes a model, not even where an entry ends, and nothing is written.
    """
    whole = trained()
    text = whole.record_file.read_text()
    end_of_entry = text.index("}\n}\n") + 4
    ends = {0, end_of_entry, *range(7, len(text) - 6, max(len(text) // 40, 1))}
    for end in sorted(ends):
        (tmp_path / "half.txt").write_text(text[:end])
        with pytest.raises((RecordError, EmptyRecordError)):
            amct.save_quant_retrain_model(
                str(whole.frozen), ["y"], str(tmp_path / "half.txt"), str(tmp_path / "model")
            )
        assert [path.name for path in tmp_path.iterdir()] == ["half.txt"]
