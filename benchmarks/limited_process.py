"""A module in a process of its own, which is stopped beyond a time or an amount of memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_LOOK = 0.2
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


class Limited(NamedTuple):
    """Limits of a process: seconds, and the MB that it may have in memory."""

    seconds: float
    memory_mb: int


class Ended(NamedTuple):
    """How a process ended.

    Attributes:
        output: What it wrote to standard output.
        last_line: The last line that it wrote to standard error.
        why: Why it didn't end as it should; empty when it did.
        peak_mb: The most that it was seen to have in memory.
    """

    output: str
    last_line: str
    why: str
    peak_mb: int


def run_limited(command: Sequence[str], limits: Limited) -> Ended:
    """What ``python -m`` followed by `command` does."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=output,
            stderr=errors,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"},
            start_new_session=True,
        )
        why, peak = _watched(process, limits)
        output.seek(0)
        errors.seek(0)
        last = (errors.read().strip().splitlines() or [""])[-1]
        return Ended(output.read(), last, why or _status(process.returncode, last), peak)


def _watched(process: subprocess.Popen[bytes], limits: Limited) -> tuple[str, int]:
    start, peak = time.monotonic(), 0.0
    while process.poll() is None:
        peak = max(peak, _memory_mb(process.pid))
        why = ""
        if time.monotonic() - start > limits.seconds:
            why = f"not done after {limits.seconds:g} seconds"
        elif peak > limits.memory_mb:
            why = f"more than {limits.memory_mb} MB in memory"
        if why:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return why, round(peak)
        time.sleep(_LOOK)
    return "", round(peak)


def _memory_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB
    except (OSError, IndexError):  # it has just ended
        return 0.0


def _status(code: int, last: str) -> str:
    if code == 0:
        return ""
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}: {last}"
