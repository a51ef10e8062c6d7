"""Runs MNN's converter, from the wheel `MNN`, in a process of its own.

The module `MNN.tools` is never imported: importing it installs a package into the user's
environment and reports to the vendor. The extension module that it wraps does neither.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from graphquant_core.exceptions import MissingDependencyError
from graphquant_export.targets.mnn.command import PROGRAM


def mnn_version() -> str:
    """Version of the installed wheel.

    Raises:
        MissingDependencyError: It is not installed; names the command that installs it.
    """
    try:
        return importlib.metadata.version("MNN")
    except importlib.metadata.PackageNotFoundError:
        raise MissingDependencyError(
            'MNN\'s converter is not installed: pip install "graphquant-export[mnn]"'
        ) from None


def run_mnnconvert(
    arguments: Sequence[str], folder: str | os.PathLike[str]
) -> subprocess.CompletedProcess[str]:
    """Runs ``mnnconvert <arguments>`` with `folder` as its working directory.

    The converter's exit status says nothing: it is 0 for a failed conversion too. What it wrote
    and what it printed tell.

    Raises:
        MissingDependencyError: The wheel is not installed.
    """
    mnn_version()
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "mnnconvert", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd=Path(folder),
        env=environment,
        stdin=subprocess.DEVNULL,
    )
