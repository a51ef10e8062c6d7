"""The quantised model in TensorFlow 1.15.5, where a Python 3.7 can be had.

``GRAPHQUANT_TF115_PYTHON`` names a Python that has TensorFlow 1.15; set to nothing, it leaves these
tests out. Without it, a Python 3.7 on the PATH or of pyenv gets an environment with TensorFlow 1.15
in ``~/.cache/graphquant-tests``, which later runs use again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph.frozen import load_graph_def
from graphquant_core.record import LayerFactors, Record
from graphquant_export.targets.ascend import quantize_graph

v1 = tf.compat.v1

VARIABLE = "GRAPHQUANT_TF115_PYTHON"
PACKAGES = ("tensorflow==1.15.5", "protobuf<3.21", "numpy<1.19")
RUN_PB = Path(__file__).parent / "older" / "run_pb.py"
INSTALL_SECONDS = 90
SUFFICES = "import sys; assert sys.version_info[:2] == (3, 7); print(sys.executable)"


def call(*command: str, seconds: float = 60) -> str:
    """What `command` prints; ``''`` when it can't be run or fails."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=environment, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def pythons() -> Iterator[str]:
    """Commands that may be a Python 3.7."""
    if shutil.which("python3.7"):
        yield "python3.7"
    if shutil.which("pyenv"):
        root = Path(call("pyenv", "root"))
        yield from (str(path) for path in sorted(root.glob("versions/3.7*/bin/python")))


def installed_python() -> str:
    """A Python with TensorFlow 1.15 in an environment that outlives the tests; skips without."""
    folder = Path.home() / ".cache" / "graphquant-tests" / "tensorflow-1.15.5"
    if not folder.exists():
        found = next(filter(None, (call(name, "-c", SUFFICES) for name in pythons())), "")
        if not found:
            pytest.skip(f"no Python 3.7 found; {VARIABLE} may name one that has TensorFlow 1.15")
        started = folder.with_name(f"{folder.name}-{os.getpid()}")
        try:
            if not install(found, started):
                pytest.skip(f"pip did not install {', '.join(PACKAGES)} in {INSTALL_SECONDS} s")
            with contextlib.suppress(OSError):  # another run of the tests was faster
                started.rename(folder)
        finally:
            shutil.rmtree(started, ignore_errors=True)
    return str(folder / "bin" / "python")


def install(python: str, folder: Path) -> bool:
    """Whether an environment of `python` with TensorFlow 1.15 now stands in `folder`."""
    call(python, "-m", "venv", str(folder))
    inside = str(folder / "bin" / "python")
    pip = ("-m", "pip", "install", "--quiet", "--prefer-binary")
    call(inside, *pip, *PACKAGES, seconds=INSTALL_SECONDS)
    return call(inside, "-c", "import tensorflow as tf; print(tf.__version__)") == "1.15.5"


@pytest.fixture(scope="session")
def run_in_1_15(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., np.ndarray]:
    """``run(pb, x, output)`` in TensorFlow 1.15."""
    python = os.environ.get(VARIABLE)
    if python == "" or not sys.platform.startswith("linux"):
        pytest.skip(f"{VARIABLE} is empty, or this is no Linux")
    python = python or installed_python()
    folder = tmp_path_factory.mktemp("tensorflow_1_15")

    def run(pb: str, x: np.ndarray, output: str) -> np.ndarray:
        fed, result = folder / "x.npy", folder / "result.npy"
        np.save(fed, x)
        version = call(python, str(RUN_PB), pb, str(fed), str(result), output, seconds=120)
        assert version.splitlines()[-1:] == ["1.15.5"], version
        return np.load(result)

    return run


def run_here(graph_def: Any, x: np.ndarray, output: str) -> np.ndarray:
    with tf.Graph().as_default(), v1.Session() as session:
        (tensor,) = tf.import_graph_def(graph_def, return_elements=[output], name="")
        return session.run(tensor, {"x:0": x})


@pytest.mark.parametrize("output", ["dense/dequant/AscendDequant:0", "prob:0"])
def test_the_quantised_model_gives_the_same_outputs_in_tensorflow_1_15(
    journey: Any, run_in_1_15: Callable[..., np.ndarray], output: str
) -> None:
    """Logits of the five layer types have the same bits, probabilities differ by 1e-6 at most."""
    older = run_in_1_15(journey.quantized, journey.x, output)
    newer = run_here(load_graph_def(journey.quantized), journey.x, output)
    assert older.shape == newer.shape
    assert np.abs(older - newer).max() <= (1e-6 if output == "prob:0" else 0)


def test_what_stays_float_imports_in_tensorflow_1_15(
    run_in_1_15: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    """Ops that have got attributes since, among them a batch norm that is not folded."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [2, 6, 6, 3], "x")
        weight = random.normal(size=(3, 3, 3, 4)).astype(np.float32)
        y = tf.nn.conv2d(x, weight, 1, "SAME", name="conv")
        y = v1.nn.fused_batch_norm(
            y, *random.uniform(0.5, 2, (4, 4)).astype(np.float32), is_training=False
        )[0]
        y = tf.nn.depthwise_conv2d(tf.nn.max_pool2d(y, 2, 2, "SAME"), weight[:2, :2, :1, :1]
                                   .repeat(4, 2), [1, 1, 1, 1], "SAME")  # fmt: skip
        y = tf.matmul(tf.reshape(y, [2, 36]), random.normal(size=(36, 8)).astype(np.float32))
        best, indices = tf.math.top_k(y, 3)
        picked = tf.gather_nd(y, tf.stack([[0, 1], indices[:, 0]], axis=1))
        spread = tf.scatter_nd([[1], [0]], picked, [2])
        tf.add(best, spread[:, None], name="y")
    factors = LayerFactors(0.02, 0, np.full(4, 0.02), skip_fusion=True)
    quantized, _ = quantize_graph(graph.as_graph_def(), ["y"], Record({"conv": factors}))
    pb = tmp_path / "float_rest.pb"
    pb.write_bytes(quantized.SerializeToString())
    data = random.normal(size=(2, 6, 6, 3)).astype(np.float32)
    older, newer = run_in_1_15(str(pb), data, "y:0"), run_here(quantized, data, "y:0")
    np.testing.assert_allclose(older, newer, rtol=1e-5)
