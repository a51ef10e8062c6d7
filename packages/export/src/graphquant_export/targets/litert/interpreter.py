"""Runs the bytes of a .tflite model in LiteRT, as it is deployed: with the default kernels.

The wheel ``ai-edge-litert`` is what devices run. TensorFlow's own copy of the interpreter is
announced to go, and prints so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import MissingDependencyError, ModelFileError
from graphquant_export.targets.litert.captured import captured_output

Array = npt.NDArray[Any]


def check_installed() -> None:
    """Raises MissingDependencyError when the wheel is not installed; says how to get it."""
    _interpreter_class()


def invoke(content: bytes, inputs: Mapping[int, Array]) -> dict[int, Array]:
    """Every output of the model, as it is stored, by its tensor.

    Args:
        content: A .tflite file.
        inputs: Value of each input by its tensor, in the type of the tensor. An input takes the
            shape of its value.

    Raises:
        MissingDependencyError: The wheel is not installed.
        ModelFileError: LiteRT can't run the model.
    """
    interpreter_class = _interpreter_class()
    try:
        with captured_output():
            interpreter = interpreter_class(model_content=content)
            for index, value in inputs.items():
                interpreter.resize_tensor_input(index, value.shape)
            interpreter.allocate_tensors()
            for index, value in inputs.items():
                interpreter.set_tensor(index, value)
            interpreter.invoke()
            details = interpreter.get_output_details()
            return {
                int(detail["index"]): np.array(interpreter.get_tensor(detail["index"]))
                for detail in details
            }
    except (RuntimeError, ValueError) as error:
        raise ModelFileError(f"LiteRT cannot run the model: {error}") from error


def _interpreter_class() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]
    except ImportError:
        raise MissingDependencyError(
            'LiteRT is not installed: pip install "graphquant-export[litert]"'
        ) from None
    return Interpreter
