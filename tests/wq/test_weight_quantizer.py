"""The calls of WeightQuantizer, used rightly and wrongly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import (
    BitsError,
    ConfigError,
    GradientsExistError,
    GraphStateError,
    NoLayersError,
    NonFiniteError,
    SessionExistsError,
    UnknownNameError,
)
from graphquant_export.targets.mnn import mnn_grouping, mnn_quantize, read_compress_params
from graphquant_wq import WeightQuantizer, strip_wq_ops

v1 = tf.compat.v1

DATA = np.random.default_rng(7).uniform(size=(40, 8, 8, 1)).astype(np.float32)
LABELS = (DATA.mean(axis=(1, 2, 3)) > 0.5).astype(np.int32)


def _frozen_weights(graph_def: Any, plan: Any) -> dict[str, np.ndarray]:
    """The weight constant of each layer in a frozen graph."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    tensors = {
        layer.name: graph.get_operation_by_name(layer.name).inputs[layer.weight_port]
        for layer in plan.layers
    }
    with v1.Session(graph=graph) as session:
        return session.run(tensors)


def _nodes(graph: tf.Graph) -> list[tuple[str, list[str]]]:
    return [(op.name, [tensor.name for tensor in op.inputs]) for op in graph.get_operations()]


@pytest.mark.usefixtures("both_kinds_of_variables")
@pytest.mark.parametrize("asymmetric", [False, True])
def test_after_the_strip_the_frozen_weights_are_on_the_grid(
    small_model: Callable[..., Any], asymmetric: bool
) -> None:
    """MNN's formula maps the frozen weights to themselves, and the outputs are the trained ones."""
    model = small_model()
    quantizer = WeightQuantizer(model.graph, bits=3, asymmetric=asymmetric)
    step = model.trainer()
    with v1.Session(graph=model.graph) as session:
        session.run(model.initializer())
        quantizer.init(session)
        for _ in range(3):
            session.run(step, {model.x: DATA, model.labels: LABELS})
            quantizer.update(session)
        shown = session.run(model.probabilities, {model.x: DATA})
        with model.graph.as_default():
            strip_wq_ops()
        frozen = model.freeze(session)
    weights = _frozen_weights(frozen, quantizer.plan)
    for layer in quantizer.plan.layers:
        if layer.op_type == "Conv2DBackpropInput":
            continue  # on the grid once the batch norm is folded; the converter's tests hold that
        rows = mnn_grouping(layer).rows(weights[layer.name])
        stored = mnn_quantize(rows, 3, asymmetric).values()
        np.testing.assert_allclose(rows, stored, rtol=0, atol=1e-6)
        assert max(len(np.unique(row)) for row in rows) <= (8 if asymmetric else 7)
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(frozen, name="")
        again = session.run("prob:0", {"x:0": DATA})
    np.testing.assert_allclose(again, shown, rtol=0, atol=1e-5)
    left = [node.op for node in frozen.node if "weight_quant" in node.name]
    assert set(left) == {"Const"}


@pytest.mark.usefixtures("both_kinds_of_variables")
def test_nothing_is_added_that_a_saver_saves(small_model: Callable[..., Any]) -> None:
    """The variables of the collections are those of the float graph."""
    model = small_model()
    with model.graph.as_default():
        before = [variable.name for variable in v1.global_variables()]
        WeightQuantizer(bits=4)
        assert [variable.name for variable in v1.global_variables()] == before
        assert not v1.local_variables()


def test_the_inference_graph_gives_what_was_trained(
    small_model: Callable[..., Any], tmp_path: Path
) -> None:
    """Restored from the tuned checkpoint, init changes no weight and the outputs are the same."""
    model = small_model(training=False)
    quantizer = WeightQuantizer(model.graph, bits=2)
    step = model.trainer()
    with model.graph.as_default(), v1.Session() as session:
        session.run(model.initializer())
        quantizer.init(session)
        for _ in range(5):
            session.run(step, {model.x: DATA, model.labels: LABELS})
            quantizer.update(session)
        shown = session.run(model.probabilities, {model.x: DATA})
        checkpoint = v1.train.Saver().save(session, str(tmp_path / "tuned"))
    other = small_model(training=False)
    quantizer = WeightQuantizer(other.graph, bits=2)
    with other.graph.as_default(), v1.Session() as session:
        v1.train.Saver().restore(session, checkpoint)
        before = session.run(v1.trainable_variables())
        quantizer.init(session)
        for old, new in zip(before, session.run(v1.trainable_variables()), strict=True):
            np.testing.assert_array_equal(old, new)
        np.testing.assert_array_equal(session.run(other.probabilities, {other.x: DATA}), shown)


def test_init_clips_a_training_graph_to_a_smaller_error(small_model: Callable[..., Any]) -> None:
    """After init the weights are nearer to their grid than the live range puts them."""
    errors = {}
    for start in ("keep", "auto"):
        model = small_model()
        quantizer = WeightQuantizer(model.graph, bits=2, start=start)
        model.trainer()
        with v1.Session(graph=model.graph) as session:
            session.run(model.initializer())
            weight = model.graph.get_tensor_by_name("dense/MatMul:0").op.inputs[1]
            with model.graph.as_default():
                raw = session.run(
                    next(v for v in v1.trainable_variables() if v.op.name == "dense/w")
                )
            quantizer.init(session)
            errors[start] = float(np.square(session.run(weight) - raw).sum())
    assert errors["auto"] < 0.9 * errors["keep"]


@pytest.mark.usefixtures("both_kinds_of_variables")
def test_zeros_that_init_finds_stay_zero(small_model: Callable[..., Any]) -> None:
    """Through training and update, on an asymmetric grid, and in the frozen graph."""
    model = small_model()
    quantizer = WeightQuantizer(model.graph, bits=4)
    step = model.trainer()
    with model.graph.as_default(), v1.Session() as session:
        session.run(model.initializer())
        pruned = {}
        for variable in v1.trainable_variables():
            if variable.op.name in ("conv/w", "up/w", "dense/w"):
                value = session.run(variable)
                value[np.abs(value) < np.quantile(np.abs(value), 0.9)] = 0
                variable.load(value, session)
                pruned[variable] = value == 0
        quantizer.init(session)
        for _ in range(5):
            session.run(step, {model.x: DATA, model.labels: LABELS})
            quantizer.update(session)
        for variable, zeros in pruned.items():
            assert not session.run(variable)[zeros].any()
            assert session.run(variable)[~zeros].any()
        strip_wq_ops()
        weights = _frozen_weights(model.freeze(session), quantizer.plan)
    names = {"conv/w": "conv/Conv2D", "up/w": "up/deconv", "dense/w": "dense/MatMul"}
    for variable, zeros in pruned.items():
        assert not weights[names[variable.op.name]][zeros].any()
    modes = {params.op_name: params.asymmetric for params in quantizer.compress_params()}
    assert modes == {
        "conv/Conv2D": False,
        "depthwise/depthwise": True,
        "up/BiasAdd": False,
        "dense/MatMul__matmul_converted": False,
        "logits/MatMul__matmul_converted": True,
    }


def test_a_weight_that_starts_at_zero_learns(small_model: Callable[..., Any]) -> None:
    """All zeros are no pruning."""
    model = small_model()
    quantizer = WeightQuantizer(model.graph, bits=8)
    step = model.trainer()
    with model.graph.as_default(), v1.Session() as session:
        session.run(model.initializer())
        zero = next(v for v in v1.trainable_variables() if v.op.name == "logits/w")
        zero.load(np.zeros(zero.shape, np.float32), session)
        quantizer.init(session)
        for _ in range(3):
            session.run(step, {model.x: DATA, model.labels: LABELS})
            quantizer.update(session)
        assert session.run(zero).any()


def test_training_without_init_says_so(small_model: Callable[..., Any]) -> None:
    """Both the step and update fail, and the message names init."""
    model = small_model()
    quantizer = WeightQuantizer(model.graph, bits=4)
    step = model.trainer()
    with v1.Session(graph=model.graph) as session:
        session.run(model.initializer())
        with pytest.raises(tf.errors.FailedPreconditionError, match=r"WeightQuantizer\.init"):
            session.run(step, {model.x: DATA, model.labels: LABELS})
        for call in (
            lambda: quantizer.update(session),
            quantizer.compress_params,
            lambda: strip_wq_ops(model.graph),
        ):
            with pytest.raises(GraphStateError, match=r"WeightQuantizer\.init\(sess\)"):
                call()


def test_init_before_the_variables_have_values_says_so(small_model: Callable[..., Any]) -> None:
    """The message says to initialise or restore first."""
    model = small_model()
    quantizer = WeightQuantizer(model.graph)
    with (
        v1.Session(graph=model.graph) as session,
        pytest.raises(GraphStateError, match=r"initialise or restore[^\n]*\Z"),
    ):
        quantizer.init(session)


def test_a_weight_that_is_not_finite_is_named(small_model: Callable[..., Any]) -> None:
    """NaN in a weight: the layer, the variable and the index."""
    model = small_model()
    quantizer = WeightQuantizer(model.graph)
    with model.graph.as_default(), v1.Session() as session:
        session.run(model.initializer())
        weight = next(v for v in v1.trainable_variables() if v.op.name == "dense/w")
        value = session.run(weight)
        value[2, 3] = np.nan
        weight.load(value, session)
        with pytest.raises(NonFiniteError, match=r'"dense/w" of layer "dense/MatMul".*\[2, 3\]'):
            quantizer.init(session)


def test_bits_and_skips_go_by_name_or_pattern(
    small_model: Callable[..., Any], tmp_path: Path
) -> None:
    """The last pattern that fits counts, and what is skipped isn't in the parameters."""
    model = small_model()
    quantizer = WeightQuantizer(
        model.graph,
        bits=4,
        layer_bits={"*conv*": 8, "up/*": 3},
        skip_layers=["logits/*"],
    )
    with v1.Session(graph=model.graph) as session:
        session.run(model.initializer())
        quantizer.init(session)
    quantizer.save_compress_params(tmp_path / "params.json")
    assert {row.op_name: row.bits for row in read_compress_params(tmp_path / "params.json")} == {
        "conv/Conv2D": 8,
        "depthwise/depthwise": 4,
        "up/BiasAdd": 3,
        "dense/MatMul__matmul_converted": 4,
    }


def test_the_command_that_is_returned_names_the_parameters(
    small_model: Callable[..., Any], tmp_path: Path
) -> None:
    """The converter's command line comes back as data."""
    model = small_model()
    quantizer = WeightQuantizer(model.graph)
    with v1.Session(graph=model.graph) as session:
        session.run(model.initializer())
        quantizer.init(session)
    command = quantizer.save_compress_params(tmp_path / "params.bin")
    assert command.arguments[-2:] == ("--compressionParamsFile", str(tmp_path / "params.bin"))


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "bits too few": ({"bits": 1}, BitsError, r"bits \(1\) must be an integer from 2 to 8"),
    "bits no integer": ({"bits": 4.5}, BitsError, r"bits \(4\.5\)"),
    "layer bits": ({"layer_bits": {"conv/*": 9}}, BitsError, r'layer_bits\["conv/\*"\] \(9\)'),
    "layer bits no dict": ({"layer_bits": [4]}, ConfigError, "layer_bits"),
    "unknown layer": ({"layer_bits": {"conv/Conv2": 4}}, UnknownNameError, "conv/Conv2D"),
    "unknown skip": ({"skip_layers": ["dens/*"]}, UnknownNameError, "skip_layers"),
    "skip no list": ({"skip_layers": "conv/*"}, ConfigError, "skip_layers"),
    "strategy": ({"strategy": "max_ab"}, UnknownNameError, "max_abs"),
    "strategy and mode": ({"strategy": "max_abs", "asymmetric": True}, ConfigError, "narrow"),
    "start": ({"start": "msee"}, ConfigError, "auto, mse, keep"),
    "block": ({"block_size": 8}, ConfigError, "at least 16"),
    "asymmetric": ({"asymmetric": "no"}, ConfigError, "asymmetric"),
    "everything skipped": ({"skip_layers": ["*"]}, NoLayersError, "no layer left"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_an_error_and_changes_nothing(
    small_model: Callable[..., Any], case: str
) -> None:
    """The message names the argument and what is allowed; the layers keep their inputs."""
    arguments, error, message = WRONG[case]
    model = small_model()
    before = _nodes(model.graph)
    with pytest.raises(error, match=message):
        WeightQuantizer(model.graph, **arguments)
    after = dict(_nodes(model.graph))
    assert all(after[name] == inputs for name, inputs in before)


def test_the_order_of_calls_is_guarded(small_model: Callable[..., Any]) -> None:
    """Gradients before the quantiser, an open session, or no layer: each has its own error."""
    model = small_model()
    model.trainer()
    with pytest.raises(GradientsExistError):
        WeightQuantizer(model.graph)
    model = small_model()
    with v1.Session(graph=model.graph), pytest.raises(SessionExistsError):
        WeightQuantizer(model.graph)
    with pytest.raises(NoLayersError, match="no layer that MNN quantises"):
        WeightQuantizer(tf.Graph())
    with pytest.raises(ConfigError, match="graph"):
        WeightQuantizer("graph")


@pytest.mark.parametrize("asymmetric", [False, True])
def test_a_batch_norm_gives_its_factor_to_the_weight(
    small_model: Callable[..., Any], asymmetric: bool
) -> None:
    """Frozen, it multiplies by one, the weight is on MNN's grid to the bit, and all is as before.

    Pruned weights keep their zeros. A batch norm behind a bias stays as it is.
    """
    model = small_model(training=False)
    quantizer = WeightQuantizer(model.graph, bits=3, asymmetric=asymmetric)
    rng = np.random.default_rng(4)
    with model.graph.as_default(), v1.Session() as session:
        session.run(model.initializer())
        for variable in v1.global_variables():
            name = variable.op.name
            if name.endswith(("mean", "beta")):
                variable.load(rng.normal(size=variable.shape).astype(np.float32), session)
            if name.endswith("variance"):
                variable.load(rng.uniform(0.2, 4, variable.shape).astype(np.float32), session)
            if name == "conv/w":
                value = session.run(variable)
                value[0] = 0
                variable.load(value, session)
        quantizer.init(session)
        shown = session.run(model.probabilities, {model.x: DATA})
        strip_wq_ops()
        frozen = model.freeze(session)
    weights = _frozen_weights(frozen, quantizer.plan)
    chosen = zip(weights, quantizer.compress_params(), strict=True)
    modes = {name: params.asymmetric for name, params in chosen}
    assert modes["conv/Conv2D"] is False
    for layer in quantizer.plan.layers:
        if layer.name not in ("conv/Conv2D", "depthwise/depthwise"):
            continue
        rows = mnn_grouping(layer).rows(weights[layer.name])
        stored = mnn_quantize(rows, 3, modes[layer.name]).values()
        np.testing.assert_array_equal(rows, stored)
    norms = [node for node in frozen.node if node.op == "FusedBatchNormV3"]
    constants = {node.name: node.attr["value"].tensor for node in frozen.node if node.op == "Const"}
    behind_a_bias, behind_a_layer = norms[-1], norms[0]
    gamma, _, mean, variance = (
        tf.make_ndarray(constants[name]) for name in behind_a_layer.input[1:5]
    )
    epsilon = np.float32(behind_a_layer.attr["epsilon"].f)
    np.testing.assert_array_equal(gamma / np.sqrt(variance + epsilon), 1)
    assert not mean.any()
    assert not any("on_grid" in name for name in behind_a_bias.input)
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(frozen, name="")
        again = session.run("prob:0", {"x:0": DATA})
    np.testing.assert_allclose(again, shown, rtol=0, atol=2e-6)


def test_a_quantiser_takes_a_batch_norm_up_again_after_a_strip(
    small_model: Callable[..., Any],
) -> None:
    """With the variables that it had, for the same settings and for others."""
    model = small_model(training=False)
    norm = model.graph.get_operation_by_name("FusedBatchNormV3")
    before = [tensor.name for tensor in norm.inputs]
    for bits in (4, 4, 2):
        quantizer = WeightQuantizer(model.graph, bits=bits)
        assert [tensor.name for tensor in norm.inputs] == before
        with model.graph.as_default(), v1.Session() as session:
            session.run(model.initializer())
            quantizer.init(session)
            strip_wq_ops()
        assert [tensor.op.type for tensor in norm.inputs[1:]] == ["Const"] * 4


def test_a_batch_norm_that_is_not_finite_is_named(small_model: Callable[..., Any]) -> None:
    """A negative variance has no root: the op is in the message, and the graph as before."""
    model = small_model(training=False)
    quantizer = WeightQuantizer(model.graph)
    with model.graph.as_default(), v1.Session() as session:
        session.run(model.initializer())
        variance = next(v for v in v1.global_variables() if v.op.name == "conv/norm/variance")
        variance.load(np.full(variance.shape, -1, np.float32), session)
        quantizer.init(session)
        before = _nodes(model.graph)
        with pytest.raises(NonFiniteError, match="FusedBatchNormV3"):
            strip_wq_ops()
        assert _nodes(model.graph) == before


def test_strip_takes_a_graph_and_a_session(small_model: Callable[..., Any]) -> None:
    """Two graphs side by side; one is stripped while another is the default one."""
    first, second = small_model(), small_model()
    quantizers = [WeightQuantizer(first.graph, bits=4), WeightQuantizer(second.graph, bits=2)]
    with v1.Session(graph=first.graph) as one, v1.Session(graph=second.graph) as two:
        for model, quantizer, session in zip((first, second), quantizers, (one, two), strict=True):
            session.run(model.initializer())
            quantizer.init(session)
        strip_wq_ops(first.graph, session=one)
        assert first.graph.get_operation_by_name("conv/Conv2D").inputs[1].op.type == "Const"
        assert second.graph.get_operation_by_name("conv/Conv2D").inputs[1].op.type != "Const"
        with second.graph.as_default():
            strip_wq_ops()
        assert second.graph.get_operation_by_name("conv/Conv2D").inputs[1].op.type == "Const"


def test_strip_wants_a_quantiser_and_an_open_session(small_model: Callable[..., Any]) -> None:
    """Each error says what to do, and the graph is as before."""
    with pytest.raises(ConfigError, match="no WeightQuantizer was made"):
        strip_wq_ops(tf.Graph())
    model = small_model()
    quantizer = WeightQuantizer(model.graph)
    with v1.Session(graph=model.graph) as session:
        session.run(model.initializer())
        quantizer.init(session)
    before = _nodes(model.graph)
    with pytest.raises(GraphStateError, match="while it is open"):
        strip_wq_ops(model.graph)
    assert _nodes(model.graph) == before


@pytest.mark.usefixtures("both_kinds_of_variables")
def test_training_goes_on_after_a_strip(small_model: Callable[..., Any]) -> None:
    """A second quantiser takes the fake quantisation up again, and a new session trains on it."""
    model = small_model()
    quantizer = WeightQuantizer(model.graph, bits=2)
    step = model.trainer()
    with model.graph.as_default(), v1.Session() as session:
        session.run(model.initializer())
        quantizer.init(session)
        session.run(step, {model.x: DATA, model.labels: LABELS})
        strip_wq_ops()
        kept = session.run(v1.global_variables())
    with pytest.raises(ConfigError, match="other settings"):
        WeightQuantizer(model.graph, bits=3)
    quantizer = WeightQuantizer(model.graph, bits=2)
    with model.graph.as_default(), v1.Session() as session:
        for variable, value in zip(v1.global_variables(), kept, strict=True):
            variable.load(value, session)
        quantizer.init(session)
        before = session.run(model.loss, {model.x: DATA, model.labels: LABELS})
        for _ in range(10):
            session.run(step, {model.x: DATA, model.labels: LABELS})
            quantizer.update(session)
        assert session.run(model.loss, {model.x: DATA, model.labels: LABELS}) < before
        weight = session.run(model.graph.get_operation_by_name("dense/MatMul").inputs[1])
        assert max(len(np.unique(column)) for column in weight.T) <= 4


def test_an_inference_graph_can_be_quantised_anew_after_a_strip(
    small_model: Callable[..., Any],
) -> None:
    """Without gradients other settings are welcome, and they start from the float weights."""
    model = small_model(training=False)
    found = {}
    for bits in (2, 8):
        quantizer = WeightQuantizer(model.graph, bits=bits)
        with model.graph.as_default(), v1.Session() as session:
            session.run(model.initializer())
            quantizer.init(session)
            strip_wq_ops()
            found[bits] = session.run(model.graph.get_operation_by_name("dense/MatMul").inputs[1])
    assert len(np.unique(found[2])) <= 4 * 12
    assert len(np.unique(found[8])) > 4 * 12
