"""Seconds until what doesn't need TensorFlow is there, and whether TensorFlow stays out."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import Row

TITLE = "Start-up (wall time, median of 9 processes)"
FORMATS = {"command": "{}", "seconds": "{:.2f}", "imports_tensorflow": "{}"}
ROUNDS = 9
COMMANDS = {
    "python -c pass": "pass",
    "import graphquant_core": "import graphquant_core",
    "import graphquant_qat": "import graphquant_qat",
    "graphquant --help": "sys.argv[1:] = ['--help']; from graphquant_cli.main import main; main()",
}
REPORT = "import sys, atexit; atexit.register(lambda: print('tensorflow' in sys.modules))"


def measure() -> list[Row]:
    """One row for each command; the rounds take turns."""
    seconds: dict[str, list[float]] = {command: [] for command in COMMANDS}
    for _ in range(ROUNDS):
        for command, code in COMMANDS.items():
            seconds[command].append(wall_time(command, code))
    return [
        {
            "command": command,
            "seconds": statistics.median(seconds[command]),
            "imports_tensorflow": imports_tensorflow(code),
        }
        for command, code in COMMANDS.items()
    ]


def wall_time(command: str, code: str) -> float:
    """Seconds of one process: the installed command where there is one."""
    script = Path(sys.executable).with_name("graphquant")
    arguments = [sys.executable, "-c", code]
    if command.startswith("graphquant"):
        arguments = [str(script), *command.split()[1:]]
    start = time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def imports_tensorflow(code: str) -> bool:
    """Whether TensorFlow is loaded when `code` has run."""
    done = subprocess.run(
        [sys.executable, "-c", f"{REPORT}; {code}"], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.split()[-1] == "True"
