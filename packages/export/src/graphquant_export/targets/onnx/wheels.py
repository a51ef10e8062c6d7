"""The optional wheels of the target onnx."""

from __future__ import annotations

import importlib
from types import ModuleType

from graphquant_core.exceptions import MissingDependencyError

INSTALL = 'pip install "graphquant-export[onnx]"'


def require(wheel: str) -> ModuleType:
    """The module of the optional `wheel`.

    Raises:
        MissingDependencyError: It can't be imported; names the command that installs it.
    """
    try:
        return importlib.import_module(wheel)
    except ImportError as error:
        raise MissingDependencyError(
            f'the target "onnx" needs {wheel}, which cannot be imported ({error}): {INSTALL}'
        ) from error
