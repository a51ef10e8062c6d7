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

from graphquant_core.arguments import checked_integer
from graphquant_core.exceptions import ModelFileError, RangeError
from graphquant_core.files import read_bytes
from graphquant_export.targets.mnn.wheel import mnn_version

# A tensor that MNN packs has its channels first; only as such does it unpack it in order. One that
# is no output of the model outlives the session only if it is named in advance. A session that is
# resized twice may crash where two float ops take one int8 tensor (MNN 3.6.1): it is put off once.
_PROGRAM = """
import sys
import numpy as np
import MNN
model, given, written, winograd, count, *names = sys.argv[1:]
taken, outputs = names[: int(count)], names[int(count) :]
TF, CAFFE = MNN.Tensor_DimensionType_Tensorflow, MNN.Tensor_DimensionType_Caffe
WINOGRAD_MEMORY_LEVEL, RESIZE_DEFER = 3, 7
TYPES = {"f": MNN.Halide_Type_Float, "i": MNN.Halide_Type_Int, "u": MNN.Halide_Type_Uint8}
with np.load(given) as values:
    inputs = {name: np.ascontiguousarray(values[str(i)]) for i, name in enumerate(taken)}
net = MNN.Interpreter(model)
net.setSessionMode(RESIZE_DEFER)
if winograd:
    net.setSessionHint(WINOGRAD_MEMORY_LEVEL, int(winograd))
session = net.createSession({"saveTensors": tuple(outputs)})
for name, values in inputs.items():
    net.resizeTensor(net.getSessionInput(session, name), values.shape)
net.resizeSession(session)
for name, values in inputs.items():
    host = MNN.Tensor(values.shape, TYPES[values.dtype.kind], values, TF)
    net.getSessionInput(session, name).copyFrom(host)
net.runSession(session)
results = {}
for name in outputs:
    tensor = net.getSessionOutput(session, name)
    kind = tensor.getDataType()
    dtype = np.int32 if kind == MNN.Halide_Type_Int else np.float32
    layout = TF if tensor.getDimensionType() == TF else CAFFE
    values = np.zeros(tensor.getShape(), dtype)
    host = MNN.Tensor(tensor.getShape(), TYPES[values.dtype.kind], values, layout)
    tensor.copyToHostTensor(host)
    values = np.array(host.getNumpyData()).reshape(tensor.getShape())
    packed = layout == CAFFE and values.ndim == 4
    results[name] = values.transpose(0, 2, 3, 1) if packed else values
np.savez(written, **{str(index): results[name] for index, name in enumerate(outputs)})
"""


def run_mnn_model(
    mnn_file: str | os.PathLike[str],
    inputs: Mapping[str, npt.NDArray[Any]],
    outputs: Sequence[str],
    *,
    winograd_level: int | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Values of the tensors `outputs` for `inputs`, in TensorFlow's layout.

    Floats are float32 and integers int32, on both sides; a tensor of int8 comes back dequantised.

    Args:
        mnn_file: The model.
        inputs: A value for each input, by its name in MNN.
        outputs: Names of tensors in MNN, outputs of the model or not; a trailing Identity of the
            TensorFlow graph isn't among them.
        winograd_level: MNN's hint ``WINOGRAD_MEMORY_LEVEL``, from 0, float convolutions without
            Winograd, and 1, with its smallest tiles, to 3; ``None`` sets no hint, as most
            applications do, which is as good as 3. Large tiles are some 100 times less exact.

    Raises:
        MissingDependencyError: The wheel ``MNN`` is not installed.
        ModelFileError: The model is missing, or MNN can't run it; holds what it printed.
        RangeError: An input holds neither floats nor integers, or integers beyond int32.
        ConfigError: `winograd_level` is no integer from 0 to 3.
    """
    mnn_version()
    hint = ""
    if winograd_level is not None:
        hint = str(checked_integer("winograd_level", winograd_level, 0, 3))
    read_bytes(mnn_file, "mnn_file")
    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        with given.open("wb") as file:
            # Under a number: NumPy takes some names, such as "file", for its own arguments.
            arrays = {str(i): _as_mnn_takes_it(*item) for i, item in enumerate(inputs.items())}
            np.savez(file, **arrays)  # type: ignore[arg-type]
        files = [os.path.abspath(mnn_file), str(given), str(written)]
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *files, hint, str(len(inputs)), *inputs, *outputs],
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
            return {name: found[str(index)] for index, name in enumerate(outputs)}


def _as_mnn_takes_it(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "uif":
        raise RangeError(
            f'inputs: "{name}" has the type {array.dtype}; MNN reads such an input wrongly: let '
            "the model take uint8, int32 or float32"
        )
    if array.dtype == np.uint8:
        return array
    wanted = np.int32 if array.dtype.kind in "ui" else np.float32
    taken = array.astype(wanted)
    if wanted is np.int32 and not np.array_equal(taken, array):
        raise RangeError(
            f'inputs: "{name}" has values from {array.min()} to {array.max()}; MNN takes int32'
        )
    return taken
