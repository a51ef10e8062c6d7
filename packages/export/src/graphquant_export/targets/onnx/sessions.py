"""ONNX Runtime sessions on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx

from graphquant_core.exceptions import ModelFileError
from graphquant_export.targets.onnx.model_file import opset_of
from graphquant_export.targets.onnx.wheels import require

Array = npt.NDArray[Any]

INT8_OPSET = 21
"""From this opset on, ONNX Runtime for x86 makes invalid nodes where it turns int8 into uint8."""


def session_config(opset: int) -> dict[str, str]:
    """Configuration of an ONNX Runtime session that computes what a file of `opset` says.

    By default ONNX Runtime lets sums of products saturate at 16 bits on x86 CPUs without VNNI,
    rounds what goes into a MatMul with integer weights alone to 8 bits, and refuses many models
    with int8 activations of opset 21 or later on x86. Each entry is for
    ``SessionOptions.add_session_config_entry``.
    """
    config = {
        "session.x64quantprecision": "1",
        "session.qdq_matmulnbits_accuracy_level": "1",
    }
    return config if opset < INT8_OPSET else {**config, "session.qdqisint8allowed": "1"}


class Session:
    """`model` in ONNX Runtime with `session_config`, as its extended optimisations leave it.

    Args:
        model: The model.
        where: What to call it in messages.
        optimize: Whether it may be changed: a model that was isn't anew.

    Attributes:
        optimized: What ONNX Runtime made of the model, which it then runs.
        version: Version of ONNX Runtime.

    Raises:
        MissingDependencyError: The wheel onnxruntime is not installed.
        ModelFileError: ONNX Runtime refuses the model; holds `where` and its reason.
    """

    def __init__(self, model: onnx.ModelProto, where: str, *, optimize: bool = True) -> None:
        runtime = require("onnxruntime")
        self.version = str(runtime.__version__)
        self._where = where
        self._errors: tuple[type[Exception], ...] = (*_errors(runtime), ValueError)
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / "optimized.onnx"
            options = runtime.SessionOptions()
            options.log_severity_level = 4
            options.optimized_model_filepath = str(written)
            levels = runtime.GraphOptimizationLevel
            options.graph_optimization_level = (
                levels.ORT_ENABLE_EXTENDED if optimize else levels.ORT_DISABLE_ALL
            )
            for key, value in session_config(opset_of(model)).items():
                options.add_session_config_entry(key, value)
            content = model.SerializeToString()
            try:
                self._session = runtime.InferenceSession(
                    content, options, providers=["CPUExecutionProvider"]
                )
            except self._errors as error:
                raise ModelFileError(
                    f"{where}: ONNX Runtime {self.version} refuses it: {error}"
                ) from error
            self.optimized = onnx.load_model(written)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Value of each of `outputs`, in the types of the model.

        Raises:
            ModelFileError: ONNX Runtime can't compute them.
        """
        try:
            values: list[Array] = self._session.run(list(outputs), dict(feeds))
        except self._errors as error:
            raise ModelFileError(
                f"{self._where}: ONNX Runtime {self.version} cannot run it: {error}"
            ) from error
        return values


def _errors(runtime: Any) -> tuple[type[Exception], ...]:
    """The exceptions of ONNX Runtime, which have no base class of their own."""
    state = runtime.capi.onnxruntime_pybind11_state
    return tuple(
        value
        for value in vars(state).values()
        if isinstance(value, type) and issubclass(value, Exception)
    )
