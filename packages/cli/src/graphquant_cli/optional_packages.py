"""Siblings that a command needs and that may not be installed."""

from __future__ import annotations

import importlib
from typing import Any

from graphquant_core.exceptions import MissingDependencyError


def need(module: str, command: str) -> Any:
    """The module called `module`, which `command` needs.

    Raises:
        MissingDependencyError: The distribution that it is part of isn't installed; says what to
            install.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(package)
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        folder = package.removeprefix("graphquant_")
        raise MissingDependencyError(
            f"graphquant {command} needs graphquant-{folder}, which is not installed: "
            f"pip install ./packages/{folder} in the folder of graphquant's sources"
        ) from error
