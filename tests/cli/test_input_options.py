"""--input and --input-shape: where a model begins, and what is static of it."""

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
    assert proposed == {"input": ["standardized"], "input_shape": {}}
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
