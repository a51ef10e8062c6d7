"""Goals of `tune`, what it says of a model, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import (
    BitsError,
    ConfigError,
    GraphQuantError,
    NoLayersError,
    NonFiniteError,
    RangeError,
    RecordError,
    UnknownNameError,
)
from graphquant_core.graph.frozen.node_def import const_node
from graphquant_core.weight_record import WeightRecord
from graphquant_export import export
from graphquant_export.inputs import LoadedModel
from graphquant_tune import sensitivity, tune
from graphquant_tune.folded import fold_model

v1 = tf.compat.v1


def untrained(models, images, name="classifier", **options):
    options = {"weight_only": True, "steps": 0, **options}
    return tune(models[name](), {"images": images}, "onnx", **options)


def test_without_steps_and_goals_weights_have_4_bits(models, images, new_net):
    """Or 8, where that costs little: a small layer beside a large one."""
    found = untrained(models, images)
    assert found.bits == {"conv": 4, "depthwise": 4, "pointwise": 4, "dense": 4}
    assert isinstance(found.factors, WeightRecord)
    with tf.Graph().as_default() as graph:
        net = new_net(0)
        y = net.depthwise(v1.placeholder(tf.float32, [None, 8, 8, 3], "images"), "small")
        tf.identity(net.conv(tf.nn.relu(y), 64, 3, "large"), name="y")
    model = LoadedModel(graph.as_graph_def(), ("images",), ("y",))
    wide = tune(model, {"images": images}, "onnx", weight_only=True, steps=0)
    assert wide.bits == {"small": 8, "large": 4}
    assert found.training.steps == 0
    assert found.before == found.after
    assert found.sensitivities == ()


def test_more_bits_are_nearer_to_the_float_model(models, images):
    """In the distance and in dB."""
    found = [untrained(models, images, bits=bits).after for bits in (2, 4, 8)]
    assert found[0].distance > found[1].distance > found[2].distance
    assert found[0].sqnr < found[1].sqnr < found[2].sqnr


@pytest.mark.usefixtures("mnn")
def test_the_file_of_a_size_weighs_no_more(models, images, tmp_path):
    """As it was really written; half of the float graph is better than a fifth of what is left."""
    model = models["classifier"]()
    whole = untrained(models, images, bits=8)
    small = export(_loaded(whole), whole.factors, "mnn", tmp_path / "w8").paths[0].stat().st_size
    found = tune(
        model, {"images": images}, "mnn", weight_only=True, steps=0, size=small - 60
    )  # fmt: skip
    written = export(_loaded(found), found.factors, "mnn", tmp_path / "m").paths[0]
    assert written.stat().st_size <= small - 60
    assert set(found.bits.values()) != {8}
    with pytest.raises(ConfigError, match="the smallest has") as caught:
        tune(model, {"images": images}, "mnn", weight_only=True, steps=0, size=100)
    smallest = int(str(caught.value).rpartition(" ")[2])
    tune(model, {"images": images}, "mnn", weight_only=True, steps=0, size=smallest)


@pytest.mark.parametrize("within", ["25dB", "4%"])
def test_a_quality_is_kept_with_as_few_bits_as_it_allows(models, images, within):
    """The untrained model is within or better, and has fewer bits than 8 somewhere."""
    found = untrained(models, images, within=within)
    quality = found.before
    assert quality.sqnr >= 25 if within == "25dB" else quality.agreement >= 0.96
    assert min(found.bits.values()) < 8
    assert {layer.name for layer in found.sensitivities} == {
        "conv", "depthwise", "pointwise", "dense"
    }  # fmt: skip


def test_layers_that_cost_too_much_stay_float(models, images):
    """Those with the largest distance, with that reason; and the quality is reached."""
    found = untrained(models, images, within="52dB")
    assert 0 < len(found.bits) < 4
    wanted = 52
    assert found.before.sqnr >= wanted
    with pytest.raises(ConfigError, match=r"within \(200dB\) cannot be reached: with .* alone"):
        untrained(models, images, within="200dB")


@pytest.mark.parametrize("name", ["classifier", "denoiser"])
def test_int8_within_a_quality_leaves_layers_float(models, images, name):
    """A few dB more than all layers in int8 have, from the record alone."""
    everything = untrained(models, images, name, weight_only=False)
    wanted = everything.after.sqnr + 1.5
    found = untrained(models, images, name, weight_only=False, within=f"{wanted}dB")
    assert 0 < len(found.bits) < len(everything.bits)
    assert found.before.sqnr >= wanted
    costs = {layer.name: layer.distances[8] for layer in found.sensitivities}
    assert costs.keys() == everything.bits.keys()
    left = costs.keys() - found.bits.keys()
    assert max(costs[name] for name in found.bits) <= min(costs[name] for name in left)
    reasons = [skip.reason for skip in found.plan.skips if skip.name not in found.bits]
    assert any("costs more than is allowed" in reason for reason in reasons)


def test_sensitivity_falls_with_bits(models, images):
    """One row for each layer, one number for each width, and the layer's size."""
    found = sensitivity(models["classifier"](), {"images": images})
    assert [layer.name for layer in found.layers] == ["conv", "depthwise", "pointwise", "dense"]
    for layer in found.layers:
        assert list(layer.distances) == [8, 6, 4, 3, 2]
        assert layer.distances[8] < layer.distances[4] < layer.distances[2]
    assert [layer.weights for layer in found.layers] == [216, 72, 128, 80]
    left = sensitivity(models["classifier"](), {"images": images}, skip_layers=["*wise"])
    assert [layer.name for layer in left.layers] == ["conv", "dense"]


def test_the_summary_is_json(models, images):
    """Layers with bits and distances, those that stay float with the reason, both qualities."""
    found = untrained(models, images, within="20dB", skip_layers=["dense"])
    read = json.loads(json.dumps(found.summary()))
    assert [layer["name"] for layer in read["layers"]] == ["conv", "depthwise", "pointwise"]
    assert read["float"] == [{"name": "dense", "reason": "skip_layers names it"}]
    assert set(read["layers"][0]["distance"]) == {"8", "6", "4", "3", "2"}
    assert read["after"]["sqnr"] >= 20


def _loaded(found) -> LoadedModel:
    return LoadedModel(found.graph_def, ("images",), found.outputs)


def test_zeros_of_a_pruned_model_stay_zero(models, images):
    """Without training and with it, on a symmetric grid."""
    random, model = np.random.default_rng(0), models["classifier"]()
    pruned = {}
    for node in model.graph_def.node:
        value = tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else np.zeros(1)
        if value.dtype == np.float32 and value.ndim > 1:
            pruned[value.shape] = random.random(value.shape) < 0.5
            node.CopyFrom(const_node(node.name, np.where(pruned[value.shape], 0, value)))
    for steps in (0, 10):
        found = tune(model, {"images": images}, "onnx", weight_only=True, steps=steps)
        assert not any(grid.asymmetric for grid in found.factors.values())
        folded = fold_model(found.graph_def, found.outputs)
        weights = [value for value in folded.values().values() if value.ndim > 1]
        assert len(weights) == len(pruned) == 4
        for weight in weights:
            assert not weight[pruned[weight.shape]].any()
            assert weight.any()


def test_what_cannot_be_exported_is_not_trained(models, images):
    """A target without weights alone is refused before the first step."""
    stages = []
    with pytest.raises(RecordError, match="int8 models only"):
        tune(
            models["classifier"](), {"images": images}, "ascend", weight_only=True, steps=10_000,
            report=lambda stage, *_: stages.append(stage),
        )  # fmt: skip
    assert "training" not in stages


SHAPE = (16, 8, 8, 3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bits": 9}, BitsError, r"^bits \(9\)"),
        ({"bits": 3, "size": "9kB"}, ConfigError, "bits and size are given"),
        ({"size": "9 stones"}, ConfigError, "^size"),
        ({"within": "3"}, ConfigError, "^within"),
        ({"steps": -1}, ConfigError, "^steps"),
        ({"steps": 1.5}, ConfigError, "^steps"),
        ({"minutes": 0}, ConfigError, "^minutes"),
        ({"batch_size": 0}, ConfigError, "^batch_size"),
        ({"seed": "a"}, ConfigError, "^seed"),
        ({"skip_layers": "conv"}, ConfigError, "^skip_layers"),
        ({"skip_layers": ["convolution"]}, UnknownNameError, "convolution"),
        ({"skip_layers": ["*"]}, NoLayersError, "no layer"),
        ({"weight_only": False, "bits": 4}, ConfigError, r"^bits \(4\) is for weight_only"),
    ],
)
def test_a_wrong_argument_is_refused(models, images, options, error, message):
    """One error that names it and what is allowed."""
    with pytest.raises(error, match=message):
        untrained(models, images, **options)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.zeros(SHAPE), ConfigError, "all alike"),
        (np.full(SHAPE, np.nan), NonFiniteError, "samples"),
        (np.zeros((16, 8, 8, 4)), RangeError, "samples"),
        (np.zeros((3, 8, 8, 3)), ConfigError, "too few"),
        (np.array([["text"]]), GraphQuantError, "images"),
    ],
)
def test_wrong_samples_are_refused(models, given, error, message):
    """Before anything else is done."""
    with pytest.raises(error, match=message):
        untrained(models, given)
    with pytest.raises(error, match=message):
        sensitivity(models["classifier"](), {"images": given})


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("ascend", "take int8 weights alone"),
        ("onnx", "compute with floats"),
        ("litert", "round each result twice"),
        ("mnn", "stores the weights of int8 layers in 8 bits"),
    ],
)
def test_int8_with_fewer_bits_says_why_the_target_has_none(models, images, target, reason):
    """Weights of fewer bits beside int8 activations: the reason against them, and what there is."""
    wanted = f'8 bits for "{target}", since .*{reason}.*; give weight_only, .* or a size'
    with pytest.raises(ConfigError, match=wanted):
        tune(models["classifier"](), {"images": images}, target, bits=4)


def test_int8_within_a_size_leaves_as_many_layers_float_as_fit(new_net, images, tmp_path):
    """Those that cost most for their weights; with one more of them the file would weigh more."""
    samples = {"images": images}
    with tf.Graph().as_default() as graph:
        net, y = new_net(0), v1.placeholder(tf.float32, [None, 8, 8, 3], "images")
        for number, channels in enumerate((64, 32, 48)):
            y = tf.nn.relu(net.conv(y, channels, 3, f"conv{number}"))
        tf.reduce_mean(y, [1, 2], name="y")
    model = LoadedModel(graph.as_graph_def(), ("images",), ("y",))

    def untrained_int8(**options):
        found = tune(model, samples, "ascend", steps=0, **options)
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        written = export(_loaded(found), found.factors, "ascend", path / "model")
        return found, written.paths[0].stat().st_size

    everything, smallest = untrained_int8()
    found, size = untrained_int8(size=smallest + 30_000)
    assert smallest < size <= smallest + 30_000
    costs = {layer.name: layer.distances[8] / layer.weights for layer in found.sensitivities}
    left = sorted(everything.bits.keys() - found.bits.keys(), key=costs.__getitem__)
    worst = max(found.bits, key=costs.__getitem__)
    assert costs[worst] <= costs[left[0]]
    assert untrained_int8(skip_layers=[*left, worst])[1] > smallest + 30_000
    reasons = {skip.reason for skip in found.plan.skips if skip.name in left}
    assert reasons == {"the file is within its size without it"}
    with pytest.raises(ConfigError, match=f"all layers in int8 the file has {smallest}; weight_on"):
        untrained_int8(size=smallest - 1)


def test_an_unknown_target_is_refused(models, images):
    """The error names the closest."""
    with pytest.raises(UnknownNameError, match='did you mean "onnx"'):
        tune(models["classifier"](), {"images": images}, "onx", weight_only=True)
