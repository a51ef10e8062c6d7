"""Functional Keras models that are called in a graph, of tf_keras and of Keras 3."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "scripts" / "keras_model.py"
LAYERS = [
    "first/Conv2D",
    "second/separable_conv2d/depthwise",
    "second/separable_conv2d",
    "third/conv2d_transpose",
    "pool/AvgPool",
    "last/MatMul",
]


@pytest.fixture(scope="module", params=["tf_keras", "keras"])
def keras(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Which Keras, and what the script prints, in a process whose tf.keras it is."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp("keras")), request.param],
        capture_output=True,
        text=True,
        timeout=1200,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return request.param, json.loads(done.stdout.splitlines()[-1])


def test_the_layers_of_the_called_model_are_quantised(keras: Any) -> None:
    """Each layer once: planned, recorded and deployed."""
    name, result = keras
    assert len(result["layers"]) == result["dequants"] == len(LAYERS)
    assert result["layers"] == result["recorded"]
    if name == "tf_keras":
        assert result["layers"] == [f"model/{layer}" for layer in LAYERS]


def test_what_tf_keras_left_when_the_model_was_built_is_skipped_with_a_reason(keras: Any) -> None:
    """One row for each layer of the first copy, which names the call; Keras 3 leaves no copy."""
    name, result = keras
    assert list(result["skips"]) == (LAYERS if name == "tf_keras" else [])
    for layer, reason in result["skips"].items():
        assert "which nothing uses" in reason
        called = "first/Conv2D" if layer == "pool/AvgPool" else layer  # it has no weight to go by
        assert f'"model/{called}"' in reason


def test_a_first_copy_whose_result_is_taken_keeps_its_layers(keras: Any) -> None:
    """Twice the layers when the model is called and its own output is used as well."""
    name, result = keras
    copies = 2 if name == "tf_keras" else 1
    assert result["layers_when_both_are_used"] == copies * len(LAYERS)


def test_the_deployed_model_computes_what_was_simulated(keras: Any) -> None:
    """Within four steps of 255 behind six layers, one on average."""
    _, result = keras
    assert result["mean_steps"] < 1
    assert result["largest_steps"] < 4


def test_moving_averages_move_when_keras_has_updates_for_them(keras: Any) -> None:
    """Neither fills UPDATE_OPS: tf_keras has `updates` to run, Keras 3 moves nothing in a graph."""
    name, result = keras
    assert result["update_ops"] == 0
    assert result["updates"] == (4 if name == "tf_keras" else 0)
    assert len(result["moved"]) == 2
    assert all((moved > 0) == (name == "tf_keras") for moved in result["moved"])
