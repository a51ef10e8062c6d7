"""ONNX Runtime sessions on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx

from graphquant_core.exceptions import ModelFileError
from graphquant_export.onnx.model_file import opset_of
from graphquant_export.onnx.wheels import require

Array = npt.NDArray[Any]

_INT8_OPSET = 21
"""From this opset on, ONNX Runtime for x86 makes invalid nodes where it turns int8 into uint8."""


class Session:
    """`model` in ONNX Runtime, as its extended optimisations leave it.

    Args:
        model: The model.
        where: What to call it in messages.
        integers: Whether sums may run in integers.

    Attributes:
        optimized: What ONNX Runtime made of the model, which it then runs.
        version: Version of ONNX Runtime.

    Raises:
        MissingDependencyError: The wheel onnxruntime is not installed.
        ModelFileError: ONNX Runtime refuses the model; holds `where` and its reason.
    """

    def __init__(self, model: onnx.ModelProto, where: str, *, integers: bool = True) -> None:
        runtime = require("onnxruntime")
        self.version = str(runtime.__version__)
        self._where = where
        self._errors: tuple[type[Exception], ...] = (*_errors(runtime), ValueError)
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / "optimized.onnx"
            options = runtime.SessionOptions()
            options.log_severity_level = 4
            options.optimized_model_filepath = str(written)
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.add_session_config_entry("session.disable_quant_qdq", str(int(not integers)))
            # Sums of products of 8 bits saturate at 16 bits on CPUs without VNNI otherwise.
            options.add_session_config_entry("session.x64quantprecision", "1")
            if opset_of(model) >= _INT8_OPSET:
                options.add_session_config_entry("session.qdqisint8allowed", "1")
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
