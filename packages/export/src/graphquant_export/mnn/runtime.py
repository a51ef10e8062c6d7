"""Runs an .mnn model in MNN's runtime, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import ModelFileError
from graphquant_core.files import read_bytes
from graphquant_export.mnn.wheel import mnn_version

_PROGRAM = """
import sys
import numpy as np
import MNN
model, given, written, *outputs = sys.argv[1:]
inputs = np.load(given)
net = MNN.Interpreter(model)
session = net.createSession()
for name in inputs.files:
    tensor = net.getSessionInput(session, name)
    net.resizeTensor(tensor, inputs[name].shape)
net.resizeSession(session)
TF, FLOAT = MNN.Tensor_DimensionType_Tensorflow, MNN.Halide_Type_Float
for name in inputs.files:
    values = np.ascontiguousarray(inputs[name])
    tensor = MNN.Tensor(values.shape, FLOAT, values, TF)
    net.getSessionInput(session, name).copyFrom(tensor)
net.runSession(session)
results = {}
for name in outputs:
    tensor = net.getSessionOutput(session, name)
    values = np.zeros(tensor.getShape(), np.float32)
    host = MNN.Tensor(tensor.getShape(), FLOAT, values, TF)
    tensor.copyToHostTensor(host)
    results[name] = np.array(host.getNumpyData()).reshape(tensor.getShape())
np.savez(written, **results)
"""


def run_mnn_model(
    mnn_file: str | os.PathLike[str],
    inputs: Mapping[str, npt.NDArray[np.float32]],
    outputs: Sequence[str],
) -> dict[str, npt.NDArray[np.float32]]:
    """Values of `outputs` for `inputs`, float32, in TensorFlow's layout.

    Args:
        mnn_file: The model.
        inputs: A value for each input, by its name in MNN.
        outputs: Names in MNN; a trailing Identity of the TensorFlow graph isn't among them.

    Raises:
        MissingDependencyError: The wheel ``MNN`` is not installed.
        ModelFileError: The model is missing, or MNN can't run it; holds what it printed.
    """
    mnn_version()
    read_bytes(mnn_file, "mnn_file")
    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        with given.open("wb") as file:
            arrays: Any = {name: np.asarray(x, np.float32) for name, x in inputs.items()}
            np.savez(file, **arrays)
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, os.path.abspath(mnn_file), given, written, *outputs],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd=folder,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0 or not written.exists():
            last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
            raise ModelFileError(f"MNN cannot run mnn_file ({os.fspath(mnn_file)}): {last[0]}")
        with np.load(written) as found:
            return {name: found[name] for name in outputs}
