"""Converts a frozen graph with MNN's own converter, and makes sure that it did."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from graphquant_core.exceptions import ModelFileError
from graphquant_core.files import check_writable, read_bytes, write_whole
from graphquant_core.listing import sentences
from graphquant_export.targets.mnn.command import ConverterCommand
from graphquant_export.targets.mnn.wheel import run_mnnconvert

logger = logging.getLogger(__name__)

_DONE = "Converted Success!"


def convert(command: ConverterCommand) -> Path:
    """Runs `command` and returns the path of the model that it wrote.

    The model appears whole or not at all; an older one is replaced only by a finished one.

    Raises:
        MissingDependencyError: The wheel ``MNN`` is not installed.
        ModelFileError: An input is missing, or the converter failed; holds what it printed, and
            the op at which it crashed.
        FileWriteError: The model can't be written.
    """
    check_writable(command.mnn_file, "mnn_file")
    read_bytes(command.model_file, "model_file")
    if command.params_file is not None:
        # The converter would write a template there and quantise nothing.
        read_bytes(command.params_file, "params_file")
    logger.info("converting: %s", command)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.mnn"
        done = run_mnnconvert(_absolute(command, written).arguments, folder)
        if done.returncode != 0 or _DONE not in done.stdout or not written.exists():
            at = _crashes_at(command, folder) if done.returncode < 0 else ""
            raise ModelFileError(
                f'MNN cannot convert model_file ("{command.model_file}"): {_reason(done)}{at}'
            )
        write_whole(command.mnn_file, written.read_bytes())
    return Path(command.mnn_file)


def _absolute(command: ConverterCommand, written: Path) -> ConverterCommand:
    params = command.params_file
    return ConverterCommand(
        os.path.abspath(command.model_file),
        written,
        None if params is None else os.path.abspath(params),
    )


def _crashes_at(command: ConverterCommand, folder: str) -> str:
    """Where in the graph the converter crashes, as the end of a message; empty for a model."""
    if not command.model_file.endswith(".pb"):
        return ""
    import tensorflow as tf

    from graphquant_export.targets.mnn.first_crash import first_crash

    part = ConverterCommand(Path(folder) / "part.pb", Path(folder) / "part.mnn")

    def crashes(graph_def: tf.compat.v1.GraphDef) -> bool:
        Path(part.model_file).write_bytes(graph_def.SerializeToString())
        return run_mnnconvert(part.arguments, folder).returncode < 0

    whole = tf.compat.v1.GraphDef.FromString(read_bytes(command.model_file, "model_file"))
    op = first_crash(whole, crashes)
    return "" if op is None else f' as soon as the graph holds "{op.name}" ({op.type})'


def _reason(done: object) -> str:
    code = getattr(done, "returncode", 0)
    if code < 0:
        return f"its converter crashed (signal {-code})"
    printed = f"{getattr(done, 'stdout', '')}\n{getattr(done, 'stderr', '')}".splitlines()
    lines = [line.strip() for line in printed if line.strip()]
    return sentences(lines[-6:]) or f"its converter ended with status {code}"
