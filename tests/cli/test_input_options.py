"""--input, --input-shape and --input-value: where a model begins, and what is fixed of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

v1 = tf.compat.v1
OPTIONS = ("--input", "standardized", "--input-shape", "standardized=?,8,8,3")


@pytest.fixture
def files(tmp_path):
    """(a frozen graph with a map_fn in front, samples for what is behind it)."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], "images")
        y = tf.identity(tf.map_fn(tf.image.per_image_standardization, x), name="standardized")
        kernel = random.normal(0, 0.2, (3, 3, 3, 8)).astype(np.float32)
        y = tf.nn.relu(tf.nn.conv2d(y, kernel, 1, "SAME", name="conv"))
        weight = random.normal(0, 0.1, (512, 5)).astype(np.float32)
        tf.matmul(tf.reshape(y, [-1, 512]), weight, name="out")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    np.save(tmp_path / "x.npy", random.normal(size=(32, 8, 8, 3)).astype(np.float32))
    return tmp_path / "m.pb", tmp_path / "x.npy"


def test_a_model_goes_to_a_target_without_its_preprocessing(graphquant, files, tmp_path):
    """quantize and verify take the same options; plan shows the new input."""
    model, samples = files
    plan = graphquant("plan", model, *OPTIONS)
    assert plan.exit_code == 0, plan.stderr
    assert "inputs: standardized" in plan.stdout
    prefix = tmp_path / "q"
    done = graphquant(
        "quantize", model, "--calibration", samples, "--target", "litert", *OPTIONS,
        "--save-path", prefix,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = graphquant(
        "verify", model, "--record", tmp_path / "q_record.txt", "--target", "litert",
        "--save-path", prefix, "--samples", samples, *OPTIONS,
    )  # fmt: skip
    assert found.exit_code == 0, found.stderr + found.stdout


def test_plan_proposes_where_the_model_begins(graphquant, files):
    """With the name of what targets don't take; not once the model begins there."""
    found = graphquant("plan", files[0])
    assert 'proposed: --input standardized, since no target takes "map/' in found.stdout
    proposed = json.loads(graphquant("plan", files[0], "--json").stdout)["proposed"]
    assert proposed == {"input": ["standardized"], "input_shape": {}, "input_value": {}}
    assert "proposed" not in graphquant("plan", files[0], *OPTIONS).stdout


@pytest.mark.parametrize(
    "text", ["standardized", "=1,8", "standardized=1,a", "standardized=1,-8", "x="]
)
def test_a_shape_that_is_none_is_refused(graphquant, files, text):
    """With an example of one."""
    outcome = graphquant("plan", files[0], "--input-shape", text)
    assert outcome.exit_code == 2
    assert f'--input-shape ("{text}")' in outcome.stderr
    assert "images=1,224,224,3" in outcome.stderr


@pytest.fixture
def switched(tmp_path):
    """(a frozen graph with a switch for training, samples)."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], "images")
        training = v1.placeholder(tf.bool, [], "is_training")
        kernel = random.normal(0, 0.2, (3, 3, 3, 8)).astype(np.float32)
        y = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME", name="conv"))
        y = tf.cond(training, lambda: tf.nn.dropout(y, 0.5), lambda: y, name="dropout")
        weight = random.normal(0, 0.1, (512, 5)).astype(np.float32)
        tf.matmul(tf.reshape(y, [-1, 512]), weight, name="out")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    np.save(tmp_path / "x.npy", random.normal(size=(32, 8, 8, 3)).astype(np.float32))
    return tmp_path / "m.pb", tmp_path / "x.npy"


def test_a_switch_for_training_gets_its_value(graphquant, switched, tmp_path):
    """Which plan proposes; without it the error names the option."""
    model, samples = switched
    found = graphquant("plan", model)
    assert "proposed: --input-value is_training=false, for inference: it decides" in found.stdout
    assert json.loads(graphquant("plan", model, "--json").stdout)["proposed"]["input_value"] == {
        "is_training": False
    }
    arguments = ("--samples", samples, "--target", "litert", "--save-path", tmp_path / "q")
    refused = graphquant("quantize", model, *arguments)
    assert refused.exit_code == 2
    assert "(--input-value)" in refused.stderr
    value = ("--input-value", "is_training=false")
    assert "proposed" not in graphquant("plan", model, *value).stdout
    for command in ("quantize", "verify"):
        done = graphquant(command, model, *arguments, *value)
        assert done.exit_code == 0, done.stderr + done.stdout


@pytest.mark.parametrize("text", ["is_training", "=true", "is_training=maybe", "is_training=1,"])
def test_a_value_that_is_none_is_refused(graphquant, switched, text):
    """With an example of one."""
    outcome = graphquant("plan", switched[0], "--input-value", text)
    assert outcome.exit_code == 2
    assert f'--input-value ("{text}")' in outcome.stderr
    assert "mean=0.5,0.5,0.5" in outcome.stderr
