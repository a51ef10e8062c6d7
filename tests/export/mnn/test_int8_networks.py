"""int8 models in MNN's real runtime: they compute what the simulation says, to the step."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exporter import ExportSource
from graphquant_core.record import Record
from graphquant_export.integer_reference import integer_reference
from graphquant_export.post_training import quantize_post_training
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.mnn.int8.artifact import MnnInt8Artifact
from graphquant_export.targets.target import MNN

v1 = tf.compat.v1

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("MNN") is None,
    reason='needs the wheel MNN: pip install "graphquant-export[mnn]"',
)

SAMPLES = 8


class Network:
    """Builds layers with batch norm folded behind them, gammas of both signs."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(7)
        self.count = 0

    def image(self, channels: int = 3) -> tf.Tensor:
        return v1.placeholder(tf.float32, [None, 16, 16, channels], name="x")

    def draw(self, *shape: int) -> np.ndarray:
        fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 1
        return self.random.normal(0, 1.2 / np.sqrt(fan_in), shape).astype(np.float32)

    def conv(
        self, x: tf.Tensor, channels: int, size: int = 3, act: str | None = "relu", stride: int = 1
    ) -> tf.Tensor:
        with self._scope():
            weight = self.draw(size, size, x.shape[-1], channels)
            return self._tail(tf.nn.conv2d(x, weight, stride, "SAME", name="conv"), act)

    def depthwise(self, x: tf.Tensor, act: str = "relu") -> tf.Tensor:
        with self._scope():
            weight = self.draw(3, 3, 1, x.shape[-1]).transpose(0, 1, 3, 2)
            y = v1.nn.depthwise_conv2d_native(x, weight, [1, 1, 1, 1], "SAME", name="depthwise")
            return self._tail(y, act)

    def dense(self, x: tf.Tensor, channels: int, act: str | None = None) -> tf.Tensor:
        with self._scope():
            y = tf.matmul(x, self.draw(x.shape[-1], channels), name="dense")
            return self._activated(tf.nn.bias_add(y, self.draw(channels)), act)

    def _scope(self) -> Any:
        self.count += 1
        return v1.name_scope(f"layer{self.count}")

    def _tail(self, y: tf.Tensor, act: str | None) -> tf.Tensor:
        channels = y.shape[-1]
        gamma = self.random.choice([-1, 1], channels) * self.random.uniform(0.4, 1.6, channels)
        variance = self.random.uniform(0.5, 2, channels).astype(np.float32)
        parts = gamma.astype(np.float32), self.draw(channels), self.draw(channels), variance
        return self._activated(v1.nn.fused_batch_norm(y, *parts, is_training=False)[0], act)

    def _activated(self, y: tf.Tensor, act: str | None) -> tf.Tensor:
        return y if act is None else getattr(tf.nn, act)(y)


def plain(n: Network) -> tf.Tensor:
    y = n.conv(n.conv(n.image(), 8), 8, stride=2)
    return n.conv(y, 6, size=1, act=None)


def residual(n: Network) -> tf.Tensor:
    y = n.conv(n.image(), 8)
    for _ in range(2):
        y = tf.nn.relu(y + n.conv(n.conv(y, 8), 8, act=None))
    return n.dense(tf.reduce_mean(y, [1, 2]), 5)


def activated_first(n: Network) -> tf.Tensor:
    y = n.conv(n.image(), 8, act=None)
    for _ in range(2):
        # What is added has negative values, which the quantiser behind the Relu has not.
        y = y + n.conv(tf.nn.relu(y), 8, act=None)
    return n.dense(tf.reduce_mean(tf.nn.relu(y), [1, 2]), 5)


def bottleneck(n: Network) -> tf.Tensor:
    y = n.conv(n.image(), 8, act=None)
    y = y + n.conv(n.conv(y, 16, size=1), 8, act=None)
    return n.conv(y, 4, act=None)


def pooled(n: Network) -> tf.Tensor:
    y = tf.nn.avg_pool2d(n.conv(n.image(), 8), 2, 2, "VALID")
    y = tf.nn.max_pool2d(n.conv(y, 8, act=None), 3, 2, "SAME")
    y = tf.nn.avg_pool2d(n.conv(y, 8), 4, 1, "VALID")
    return n.dense(n.dense(tf.reshape(y, [-1, 8]), 8, "relu"), 5)


def pooled_first(n: Network) -> tf.Tensor:
    y = n.conv(tf.nn.max_pool2d(n.image(), 2, 2, "VALID"), 8)
    return n.dense(tf.reshape(tf.nn.max_pool2d(y, 4, 4, "VALID"), [-1, 32]), 5)


def concatenated(n: Network) -> tf.Tensor:
    x = n.image()
    y = n.conv(tf.concat([n.conv(x, 8), n.conv(x, 8, size=1)], -1), 8)
    branches = [n.conv(y, 4), tf.nn.max_pool2d(y, 3, 1, "SAME"), n.conv(y, 4, act="leaky_relu")]
    return n.conv(tf.concat(branches, -1), 6, act=None)


def pooled_between_joins(n: Network) -> tf.Tensor:
    """What is joined is taken on a grid by one layer and as floats by a pooling, then joined."""
    x = n.conv(n.image(), 8)
    y = tf.concat([n.conv(x, 4), 3 * n.conv(x, 4)], -1)
    branches = [n.conv(y, 8, size=1), tf.nn.max_pool2d(y, 3, 1, "SAME")]
    y = tf.concat(branches, -1)
    # No padding: a mean of 4 or 6 codes may lie exactly between two, and fall either way.
    y = [n.conv(x, 4, act=None) for x in (y, tf.nn.avg_pool2d(y, 3, 1, "VALID"))]
    return tf.reduce_mean(y[0], [1, 2]) + tf.reduce_mean(y[1], [1, 2])


def pooled_and_not(n: Network) -> tf.Tensor:
    """The same of what is never negative, of which float copies are another op."""
    x = n.image()
    y = tf.nn.relu(tf.concat([n.conv(x, 4), n.conv(x, 4, size=1)], -1))
    y = tf.concat([n.conv(y, 8, size=1), tf.nn.max_pool2d(y, 3, 1, "SAME")], -1)
    return n.conv(y, 4, act=None)


def activated_twice(n: Network) -> tf.Tensor:
    """A model may activate a result once for each layer that takes it: MNN makes that one op."""
    y = n.conv(n.image(), 8, act=None)
    return n.conv(tf.nn.relu(y), 8, size=1, act=None) + n.conv(tf.nn.relu(y), 8, act=None)


def clipped_twice(n: Network) -> tf.Tensor:
    """The same for a Relu6, and behind a padding."""
    y = n.conv(n.image(), 8, act=None)
    padded = tf.pad(tf.nn.relu6(y), [[0, 0], [1, 1], [1, 1], [0, 0]])
    with v1.name_scope("valid"):
        z = tf.nn.conv2d(padded, n.draw(3, 3, 8, 4), 1, "VALID", name="conv")
    return z + n.conv(tf.nn.relu6(y), 4, act=None)


def dense_twice(n: Network) -> tf.Tensor:
    y = n.dense(tf.reduce_mean(n.conv(n.image(), 8), [1, 2]), 8)
    return n.dense(tf.nn.relu(y), 4) + n.dense(tf.nn.relu(y), 4)


def shifted_twice(n: Network) -> tf.Tensor:
    """A bias that a model has twice, each with a constant of its own."""
    y = n.conv(n.image(), 8, act=None)
    shift = n.draw(8)
    branches = [n.conv(tf.nn.relu(y + shift.copy()), 8, size=1, act=None) for _ in range(2)]
    return branches[0] + branches[1]


def activated_twice_and_returned(n: Network) -> tf.Tensor:
    y = n.conv(n.image(), 4, act=None)
    return n.conv(tf.nn.relu(y), 4, size=1, act=None) + tf.nn.relu(y)


def averaged_beside_relu(n: Network) -> tf.Tensor:
    """A sum that is averaged with its negative values, while a layer takes it without them."""
    x = n.image()
    y = n.conv(x, 8, act=None) + n.conv(x, 8, size=1, act=None)
    return n.conv(tf.nn.relu(y), 8, act=None) + tf.nn.avg_pool2d(y, 3, 1, "SAME")


def cut_beside_relu(n: Network) -> tf.Tensor:
    """The same of a mean that is cut into parts."""
    y = tf.reduce_mean(n.conv(n.image(), 8, act=None), [1, 2])
    return n.dense(tf.nn.relu(y), 8) + tf.concat([y[:, :4] * 2, y[:, 4:]], -1)


def explicitly_padded(n: Network) -> tf.Tensor:
    """MNN's converter alone takes such padding for SAME."""
    y = n.conv(n.image(), 8)
    with v1.name_scope("last"):
        padding = [[0, 0], [1, 2], [0, 1], [0, 0]]
        y = tf.nn.conv2d(y, n.draw(3, 3, 8, 8), 2, padding, name="conv")
    return n.conv(tf.nn.relu(y), 4, act=None)


def scaled_and_resized(n: Network) -> tf.Tensor:
    y = n.conv(n.image(), 8, stride=2)
    squeezed = n.conv(tf.reduce_mean(y, [1, 2], keepdims=True), 8, size=1, act=None)
    y = n.conv(v1.image.resize_bilinear(y * tf.sigmoid(squeezed), [16, 16]), 8)
    y = tf.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return n.conv(y, 4, act=None)


def in_groups(n: Network) -> tf.Tensor:
    y = n.conv(n.image(), 8)
    with v1.name_scope("groups"):
        y = tf.nn.relu(tf.nn.conv2d(y, n.draw(3, 3, 4, 8), 1, "SAME", name="conv"))
    return n.conv(y, 6, act=None)


def upsampled(n: Network) -> tf.Tensor:
    y = n.conv(n.image(), 8, stride=2)
    with v1.name_scope("up"):
        sizes = tf.stack([tf.shape(y)[0], 16, 16, 6])
        y = tf.nn.conv2d_transpose(y, n.draw(2, 2, 6, 8), sizes, 2, name="deconv")
    return n.conv(tf.nn.relu(y), 4, act=None)


def mobile(n: Network) -> tf.Tensor:
    y = n.conv(n.image(), 16, act="relu6")
    y = n.conv(n.depthwise(y, "relu6"), 16, size=1)
    return n.conv(n.depthwise(y), 6, size=1, act=None)


EXACT = (
    *(
        plain,
        residual,
        activated_first,
        bottleneck,
        pooled,
        pooled_first,
        concatenated,
        pooled_between_joins,
        pooled_and_not,
        activated_twice,
        clipped_twice,
        dense_twice,
        shifted_twice,
        activated_twice_and_returned,
        averaged_beside_relu,
        cut_beside_relu,
        explicitly_padded,
        scaled_and_resized,
        in_groups,
    ),
    *(upsampled,),
)


@attrs.frozen(eq=False)
class Exported:
    """A network, its export, and inputs that it was not calibrated with."""

    graph_def: Any
    record: Record
    artifact: MnnInt8Artifact
    runtime: Any
    x: np.ndarray
    simulation: Any


@pytest.fixture(scope="module")
def export(
    tmp_path_factory: pytest.TempPathFactory, mnn_simulation: Callable[..., Any]
) -> Callable[..., Exported]:
    """Exports the network that a function builds, once."""

    @functools.cache
    def exported(build: Callable[[Network], tf.Tensor]) -> Exported:
        with tf.Graph().as_default() as graph:
            tf.identity(build(Network()), name="out")
        graph_def = graph.as_graph_def()
        shape = [SAMPLES, *graph.get_operation_by_name("x").outputs[0].shape[1:]]
        given, x = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
        feeds = {"x": given}
        record = quantize_post_training(graph_def, ["out"], feeds, activation="min_max")
        exporter = MNN
        path = tmp_path_factory.mktemp("mnn") / "model"
        artifact = exporter.export(graph_def, ["out"], record, path, calibration=feeds)
        assert isinstance(artifact, MnnInt8Artifact)
        simulation = mnn_simulation(artifact)
        return Exported(graph_def, record, artifact, exporter.runtime(artifact), x, simulation)

    return exported


def run(
    graph_def: Any, names: list[str], x: np.ndarray, fed: dict[str, np.ndarray] | None = None
) -> list[np.ndarray]:
    """Values of `names` as TensorFlow computes them, every op by itself, from x and `fed`."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    config = v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with v1.Session(graph=graph, config=config) as session:
        feeds = {f"{name}:0": value for name, value in {"x": x, **(fed or {})}.items()}
        return session.run([f"{name}:0" for name in names], feeds)


def off_by(done: Exported) -> dict[str, np.ndarray]:
    """How far each int8 layer's result is from the one next to what TensorFlow computes, in steps.

    TensorFlow computes every layer from what MNN returned for the layers before it, so that a
    value between two codes, which may fall either way, concerns its own layer alone.
    """
    found = done.runtime.layer_outputs({"x": done.x})
    assert found.keys() == set(done.record)
    grids = {row.simulated.name: row.output for row in done.artifact.planned if row.output}
    assert {name for name, row in found.items() if row.step is not None} == grids.keys()
    names = [found[name].tensor for name in grids]
    fed = {name: found[layer].value for layer, name in zip(grids, names, strict=True)}
    before = [f"{name}/unquantized" for name in names]
    values = run(done.simulation, before, done.x, fed)
    distances = {}
    for (name, grid), value in zip(grids.items(), values, strict=True):
        assert found[name].step == grid.scale
        codes = found[name].value / np.float64(grid.scale) + grid.zero
        np.testing.assert_allclose(codes, np.rint(codes), atol=1e-3, err_msg=name)
        wanted = np.clip(value / np.float64(grid.scale) + grid.zero, -128, 127)
        distances[name] = np.maximum(np.abs(codes - wanted) - 0.5, 0.0)
    return distances


@pytest.mark.parametrize("build", EXACT, ids=lambda build: build.__name__)
def test_each_layer_returns_the_code_next_to_what_tensorflow_computes(export, build):
    """No result of an int8 layer is on another code than the nearest one, in any network."""
    for name, distance in off_by(export(build)).items():
        assert distance.max() < 1e-3, name


@pytest.mark.parametrize("build", EXACT, ids=lambda build: build.__name__)
def test_the_model_follows_the_record_and_its_exact_sums(export, build):
    """On the calibration batch's own range: as near the record's simulation and the integer
    reference as the results that only MNN puts on a grid allow.
    """
    done = export(build)
    x = np.clip(done.x, -2.5, 2.5)
    simulated = simulate(done.graph_def, ["out"], done.record)
    (wanted,) = run(simulated.graph_def, ["out"], x)
    (exact,) = integer_reference(simulated.exact.graph_def, ["out"], {"x": x})
    got = done.runtime.run({"x": x}, ["out"])["out"]
    assert got.shape == exact.shape
    spread = np.ptp(exact)
    assert np.abs(got - exact).mean() < 0.01 * spread
    assert np.abs(got - wanted).mean() < 0.01 * spread
    if exact.ndim == 2:
        margin = np.diff(np.sort(exact, -1)[:, -2:])[:, 0]
        sure = margin > 0.05 * spread
        np.testing.assert_array_equal(got.argmax(-1)[sure], exact.argmax(-1)[sure])


def test_what_reads_the_shape_of_a_result_takes_no_value_of_it(tmp_path):
    """Beside a quantiser it needs no range, and neither does it alone."""
    with tf.Graph().as_default() as graph:
        n = Network()
        y = n.conv(n.image(), 8)
        only_shape = tf.cast(tf.shape(n.conv(y, 4, act=None)), tf.float32)
        tf.identity(n.conv(y, 6, act=None) * only_shape[3] + tf.cast(tf.size(y), tf.float32), "out")
    model = graph.as_graph_def()
    x = np.random.default_rng(1).normal(size=(SAMPLES, 16, 16, 3)).astype(np.float32)
    record = quantize_post_training(model, ["out"], {"x": x}, activation="min_max")
    artifact = MNN.export(model, ["out"], record, tmp_path / "m", calibration={"x": x})
    found = {row.simulated.name: row for row in artifact.planned}
    assert [row.execution for row in found.values()] == ["int8", "int8", "int8"]
    assert found["layer1/conv"].reason is None


@pytest.mark.parametrize("build", [*EXACT, mobile], ids=lambda build: build.__name__)
@pytest.mark.parametrize("calibrated", [True, False])
def test_what_is_opened_again_says_what_was_exported(
    export, mnn_simulation, tmp_path, build, calibrated
):
    """Every layer's execution, grids and reason, and the simulation, come back from the files."""
    done = export(build).artifact
    if not calibrated:
        done = MNN.export(done.source.model, ["out"], done.source.record, tmp_path / "m")
    path = done.model_path.with_suffix("")
    again = MNN.open(path, ExportSource(done.source.model, ("out",), done.source.record))
    assert again.layers == done.layers
    for row, wanted in zip(again.planned, done.planned, strict=True):
        for name in ("execution", "result", "input", "output", "reason"):
            where = f"{name} of {wanted.simulated.name}"
            assert getattr(row, name) == getattr(wanted, name), where
    assert mnn_simulation(again) == mnn_simulation(done)


def test_without_results_of_its_own_the_model_is_exact(export):
    """Where every result is taken by one layer of the record, MNN's codes are the integer
    reference's, but for ties.
    """
    done = export(plain)
    simulated = simulate(done.graph_def, ["out"], done.record)
    (exact,) = integer_reference(simulated.exact.graph_def, ["out"], {"x": done.x})
    got = done.runtime.run({"x": done.x}, ["out"])["out"]
    step = done.runtime.output_step("out")
    grid = done.artifact.planned[-1].output
    codes = np.clip(np.rint(exact / step) + grid.zero, -128, 127)
    off = np.abs(np.rint(got / step) + grid.zero - codes)
    assert off.max() <= 1
    assert (off > 0).mean() <= 1e-3


def test_depthwise_layers_are_at_most_a_step_off(export):
    """One code on at most 0.3% of the results, which MNN rounds otherwise; nothing else is off."""
    for name, distance in off_by(export(mobile)).items():
        if name.endswith("depthwise"):
            assert distance.max() <= 1, name
            assert np.mean(distance > 1e-3) <= 3e-3, name
        else:
            assert distance.max() < 1e-3, name


def test_relu6_ends_at_6_whatever_the_grid(export):
    """Its grid reaches beyond 6, and yet no value does."""

    def build(n: Network) -> tf.Tensor:
        x = n.image() * 4.0
        # Larger values beside it, on the grid of what joins both.
        y = tf.concat([n.conv(x, 8, act="relu6"), 1.5 * tf.abs(x)], -1)
        return n.conv(y, 4, act=None)

    done = export(build)
    grid = done.artifact.planned[0].output
    assert (127 - grid.zero) * grid.scale > 9
    found = done.runtime.layer_outputs({"x": done.x})["layer1/conv"]
    (expected,) = run(done.simulation, [found.tensor], done.x)
    assert found.value.max() <= 6 + found.step / 2
    assert expected.max() > 5.9
    at_6 = expected > 6 - found.step / 2
    np.testing.assert_allclose(found.value[at_6], expected[at_6], atol=1e-5)
    assert np.isclose(found.value, expected, atol=1e-5).mean() > 0.999


def test_a_trained_grid_may_reach_beyond_the_relu6_before_it(mnn_simulation, tmp_path):
    """The next layer takes what Relu6 leaves, on the same grid: the model is the exact one."""
    n = Network()
    with tf.Graph().as_default() as graph:
        y = n.conv(n.image() * 4.0, 8, act="relu6")
        tf.identity(n.conv(n.conv(y, 6), 4, act=None), name="out")
    graph_def = graph.as_graph_def()
    x = n.random.normal(size=(SAMPLES, 16, 16, 3)).astype(np.float32)
    record = quantize_post_training(graph_def, ["out"], {"x": x}, activation="min_max")
    wide = {
        name: attrs.evolve(row, scale_d=6.2 / 255)
        for name, row in record.items()
        if name == "layer2/conv"
    }
    artifact = MNN.export(
        graph_def, ["out"], Record({**record, **wide}), tmp_path / "m", calibration={"x": x}
    )
    runtime = MNN.runtime(artifact)
    found = runtime.layer_outputs({"x": x})
    for name in ("layer1/conv", "layer2/conv"):
        (expected,) = run(mnn_simulation(artifact), [found[name].tensor], x)
        assert np.isclose(found[name].value, expected, atol=1e-5).mean() > 0.999
    assert found["layer1/conv"].value.max() <= 6 + found["layer1/conv"].step / 2
    again = MNN.open(tmp_path / "m", artifact.source)
    assert MNN.runtime(again).executions() == runtime.executions()


def test_what_is_pooled_or_upsampled_is_on_the_records_grid_first(mnn_simulation, tmp_path):
    """An average pooling and a transposed convolution take what their fake quantiser returns, its
    ends included, also behind an addition, which MNN computes with floats.
    """
    n = Network()
    with tf.Graph().as_default() as graph:
        y = n.conv(n.image(), 8)
        y = tf.nn.relu(y + n.conv(y, 8, act=None))
        pooled = tf.nn.avg_pool2d(y, 2, 2, "VALID", name="pool")
        up = tf.nn.conv2d_transpose(y, n.draw(2, 2, 6, 8), [SAMPLES, 32, 32, 6], 2, name="up")
        tf.add(tf.reduce_mean(pooled), tf.reduce_mean(up), name="out")
    graph_def = graph.as_graph_def()
    x = n.random.normal(size=(SAMPLES, 16, 16, 3)).astype(np.float32)
    record = quantize_post_training(graph_def, ["out"], {"x": x}, activation="min_max")
    halved = {
        name: attrs.evolve(record[name], scale_d=record[name].scale_d / 2)
        for name in ("pool", "up")
    }
    record = Record({**record, **halved})
    exporter = MNN
    done = exporter.export(graph_def, ["out"], record, tmp_path / "m", calibration={"x": x})
    assert isinstance(done, MnnInt8Artifact)
    found = exporter.runtime(done).layer_outputs({"x": x})
    fed = {found[name].tensor: found[name].value for name in ("layer1/conv", "layer2/conv")}
    simulation = simulate(graph_def, ["out"], record).graph_def
    pool, up, added = run(simulation, ["pool", "up", "Relu"], x, fed)
    step = halved["pool"].scale_d
    assert added.max() > 1.9 * 255 * step
    np.testing.assert_allclose(found["pool"].value, pool, atol=step / 3)
    assert np.isclose(found["pool"].value, pool, atol=1e-5).mean() > 0.999
    weights = run(mnn_simulation(done), ["up"], x, fed)[0]
    np.testing.assert_allclose(found["up"].value, weights, atol=1e-5)
    assert np.abs(weights - up).max() < 0.02 * np.abs(up).max()
