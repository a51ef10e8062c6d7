"""Running the command line inside the test process, and a model to run it on."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from graphquant_cli.main import main

v1 = tf.compat.v1


@attrs.frozen
class Outcome:
    """What a run of `graphquant` left behind."""

    exit_code: int
    stdout: str
    stderr: str


@attrs.frozen
class Files:
    """A frozen graph and samples for it.

    Attributes:
        model: The frozen graph: conv, pool and dense are layers, similarity is skipped.
        samples: The .npy file with `images`.
        images: float32 ``[20, 6, 6, 4]``.
    """

    model: Path
    samples: Path
    images: npt.NDArray[np.float32]

    def run(self, path: Path) -> Any:
        """Probabilities that the graph in the file at `path` computes of `images`."""
        with tf.Graph().as_default(), v1.Session() as session:
            tf.import_graph_def(v1.GraphDef.FromString(path.read_bytes()), name="")
            return session.run("prob:0", {"images:0": self.images})


@pytest.fixture
def graphquant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """`graphquant(*arguments)` runs the console script's function as a shell would."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["graphquant", *map(str, arguments)])
        capsys.readouterr()
        # What a command sets for the TensorFlow it is about to import is not for the other tests.
        with mock.patch.dict(os.environ), pytest.raises(SystemExit) as stopped:
            main()
        written = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), written.out, written.err)

    return run


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The model and its samples; the commands write elsewhere."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 4], "images")
        kernel = 0.4 * random.normal(size=(3, 3, 4, 16)).astype(np.float32)
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME", name="conv"))
        x = tf.reshape(tf.nn.avg_pool2d(x, 2, 2, "VALID", name="pool"), [-1, 144])
        tf.matmul(x, x, transpose_b=True, name="similarity")
        weight = 0.1 * random.normal(size=(144, 3)).astype(np.float32)
        tf.nn.softmax(tf.matmul(x, weight, name="dense"), name="prob")
    folder = tmp_path_factory.mktemp("files")
    model, samples = folder / "frozen.pb", folder / "samples.npy"
    model.write_bytes(graph.as_graph_def().SerializeToString())
    images = random.normal(size=(20, 6, 6, 4)).astype(np.float32)
    np.save(samples, images)
    return Files(model, samples, images)


@pytest.fixture(autouse=True)
def no_handler_stays() -> Iterator[None]:
    """A run leaves the loggers of the packages as they were."""
    loggers = [
        logging.getLogger(f"graphquant_{name}") for name in ("core", "export", "qat", "wq", "tune")
    ]
    before = [list(logger.handlers) for logger in loggers]
    yield
    assert [logger.handlers for logger in loggers] == before
