"""A model in NCHW, in a process whose TensorFlow is started by the command line."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

v1 = tf.compat.v1


def _write_model(path: Path) -> None:
    """A frozen graph in NCHW, as training on a GPU leaves it."""
    random = np.random.default_rng(1)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4, 8, 8], "images")
        kernel = random.normal(size=(3, 3, 4, 8)).astype(np.float32)
        y = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME", data_format="NCHW", name="conv"))
        y = tf.nn.max_pool2d(y, 2, 2, "VALID", data_format="NCHW")
        y = tf.nn.avg_pool2d(y, 2, 2, "VALID", data_format="NCHW", name="pool")
        weight = random.normal(size=(32, 3)).astype(np.float32)
        tf.matmul(tf.reshape(y, [-1, 32]), weight, name="logits")
    path.write_bytes(graph.as_graph_def().SerializeToString())


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN has NCHW on x86 alone"
)
def test_a_model_that_tensorflow_runs_is_quantised_and_verified(tmp_path: Path) -> None:
    """Nothing that the command line sets takes kernels from TensorFlow, as oneDNN's for NCHW."""
    images = np.random.default_rng(0).normal(size=(8, 4, 8, 8)).astype(np.float32)
    _write_model(tmp_path / "m.pb")
    np.save(tmp_path / "images.npy", images)
    target = ["--target", "ascend", "--save-path", "out"]
    _graphquant(tmp_path, "quantize", "m.pb", "--calibration", "images.npy", *target)
    record = ["--record", "out_record.txt", "--samples", "images.npy"]
    verified = _graphquant(tmp_path, "verify", "m.pb", *record, *target, "--layers")
    for layer in ("conv", "pool", "logits"):
        assert layer in verified


def test_without_onednn_the_error_says_what_is_missing(tmp_path: Path) -> None:
    """What the user's environment says counts, and the message is no kernel's name."""
    _write_model(tmp_path / "m.pb")
    np.save(tmp_path / "images.npy", np.zeros((8, 4, 8, 8), np.float32))
    arguments = ["quantize", "m.pb", "--calibration", "images.npy", "--target", "ascend"]
    done = _run(tmp_path, *arguments, "--save-path", "out", TF_ENABLE_ONEDNN_OPTS="0")
    assert done.returncode != 0
    assert "NCHW only with TF_ENABLE_ONEDNN_OPTS=1" in " ".join(done.stderr.split())


def _run(folder: Path, *arguments: str, **set_to: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name[:3] != "TF_"}
    return subprocess.run(
        [sys.executable, "-c", "from graphquant_cli.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**inherited, **set_to},
        check=False,
    )


def _graphquant(folder: Path, *arguments: str) -> str:
    done = _run(folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert "oneDNN" not in done.stderr  # its notice at the import of TensorFlow
    return done.stdout
