"""The digits example, run as `make demo` runs it, with fewer epochs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits_qat"
LAYERS = {"conv1/Conv2D", "conv2/Conv2D", "conv3/depthwise", "pool/AvgPool", "dense/MatMul"}

# Runs a script as __main__, then says which modules of graphquant it made Python load.
_RUN_THEN_LIST_MODULES = """
import runpy, sys
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
print([name for name in sys.modules if name.startswith("graphquant")])
"""


@attrs.frozen
class Demo:
    """One run of the example."""

    found: dict[str, Any]
    folder: Path
    stderr: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    place = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, EXAMPLE / "main.py", "--epochs", "12", "--json", "--output", "out"],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Demo(json.loads(done.stdout), place / "out", done.stderr)


def test_the_quantised_graph_answers_as_the_fake_quantised_one(demo: Demo) -> None:
    """At least 99 of 100 test images get the same digit from both."""
    assert demo.found["test_images"] == 450
    assert demo.found["agreement"] >= 0.99


def test_quantisation_costs_at_most_two_points_of_accuracy(demo: Demo) -> None:
    """The network has learnt the digits, and the quantised graph knows them as well."""
    accuracy = {name: graph["accuracy"] for name, graph in demo.found["graphs"].items()}
    assert accuracy["float"] >= 0.9
    assert accuracy["fake_quantised"] >= accuracy["float"] - 0.02
    assert accuracy["quantised"] >= accuracy["float"] - 0.02


def test_weights_take_a_quarter_of_their_float_bytes(demo: Demo) -> None:
    """Every weight of the float graph is int8 in the quantised one."""
    graphs = demo.found["graphs"]
    assert graphs["float"]["weight_bytes"] == 4 * (72 + 1152 + 144 + 640)
    assert graphs["quantised"]["weight_bytes"] * 4 == graphs["float"]["weight_bytes"]


@pytest.mark.parametrize(("target", "int8_layers"), [("mnn", 4), ("onnx", 5), ("litert", 5)])
def test_every_runtime_answers_as_training_simulated(
    demo: Demo, target: str, int8_layers: int
) -> None:
    """The same digit for 99 of 100 images, from a file whose layers are integers."""
    found = demo.found["targets"][target]
    assert found["agreement"] >= 0.99
    assert found["int8_layers"] == int8_layers
    assert found["file_bytes"] < demo.found["graphs"]["float"]["file_bytes"]
    assert target in (demo.folder / "report.html").read_text(encoding="utf-8")


def test_every_layer_of_the_network_is_quantised(demo: Demo) -> None:
    """The configuration enables the five layers, and each takes the output of an AscendQuant."""
    config = json.loads((demo.folder / "config.json").read_text())
    assert {name for name in config if name not in ("version", "batch_num")} == LAYERS
    assert all(config[name]["retrain_enable"] for name in LAYERS)
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString((demo.folder / "digits_quantized.pb").read_bytes())
    types = {node.name: node.op for node in graph_def.node}
    for node in graph_def.node:
        if node.name in LAYERS:
            assert types[node.input[0]] == "AscendQuant"


def test_the_quantised_graph_needs_tensorflow_and_numpy_only(demo: Demo, tmp_path: Path) -> None:
    """A process that loads no module of graphquant runs the file and gets the digits right."""
    pixels, labels = load_digits(return_X_y=True)
    images, wanted = tmp_path / "images.npy", tmp_path / "probabilities.npy"
    np.save(images, (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1))
    arguments = [EXAMPLE / "evaluate_quantized.py", demo.folder / "digits_quantized.pb"]
    done = subprocess.run(
        [sys.executable, "-c", _RUN_THEN_LIST_MODULES, *arguments, images, wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    probabilities = np.load(wanted)
    assert np.mean(probabilities.argmax(axis=1) == labels) >= 0.9
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_without_a_terminal_the_example_prints_no_progress(demo: Demo) -> None:
    """No bar and no control sequence reaches a pipe."""
    assert "\x1b" not in demo.stderr
    assert "quantisation-aware training" not in demo.stderr
