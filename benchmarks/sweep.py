"""Architectures that people use, each through `quantize`, `export` and `verify` for every target.

    python -m benchmarks.sweep [NAME ...] [--targets T ...] [--minutes N] [--table docs/models.md]

Each model is made in a process of its own, and goes through all targets in another, with limits of
time and memory; where one ends that, the next target has a process of its own. Results are appended
to a file of JSON lines as they come: what is in it already isn't run again, so that a sweep can be
stopped at any time, and taken up again.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.limited_process import Limited, run_limited
from benchmarks.sweep_models import NAMES, model_file
from benchmarks.sweep_table import write_table

TARGETS = ("ascend", "onnx", "litert", "mnn")
Row = dict[str, Any]


def main() -> None:
    """Run the pairs that have no result yet, and write the table, of however many there are."""
    arguments = _parsed()
    try:
        _sweep(arguments)
    finally:
        if arguments.table:
            write_table(arguments.table, read_rows(arguments.results))


def _sweep(arguments: argparse.Namespace) -> None:
    start = time.monotonic()
    limits = Limited(arguments.seconds, arguments.memory)
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    for name in _ordered(arguments.names):
        left = _without_result(name, arguments.results)
        targets = [target for target in left if target in arguments.targets]
        if arguments.minutes and time.monotonic() - start > 60 * arguments.minutes:
            sys.exit(f"stopped after {arguments.minutes} minutes, at {name}")
        for row in _rows(name, targets, arguments.folder / name, limits):
            with arguments.results.open("a") as file:
                file.write(json.dumps({"model": name, **row}) + "\n")
            print(name, row["target"], row["verdict"], flush=True)
        shutil.rmtree(arguments.folder / name, ignore_errors=True)


def read_rows(path: Path) -> list[Row]:
    """The latest result of each pair."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return list({(row["model"], row["target"]): row for row in rows}.values())


def _ordered(patterns: Sequence[str]) -> list[str]:
    """The models that `patterns` name, in the order of these; all without any."""
    found = [fnmatch.filter(NAMES, pattern) for pattern in patterns or ["*"]]
    return list(dict.fromkeys(itertools.chain(*found)))


def _without_result(name: str, results: Path) -> Iterator[str]:
    known = {row["target"] for row in read_rows(results) if row["model"] == name}
    return (target for target in TARGETS if target not in known)


def _rows(name: str, targets: Sequence[str], folder: Path, limits: Limited) -> Iterator[Row]:
    """A row for each of `targets`, as it comes."""
    if not targets:
        return
    failed = _make(name, folder, limits)
    if failed:
        yield from ({"target": target, **failed} for target in targets)
        return
    while targets:
        left = Limited(limits.seconds * len(targets), limits.memory_mb)
        command = ["benchmarks.sweep_pair", str(folder / model_file(name)), str(folder), *targets]
        ended = run_limited(command, left)
        rows = [json.loads(line) for line in ended.output.splitlines()]
        yield from rows
        targets = targets[len(rows) :]
        if targets:
            reason = ended.why or ended.last_line
            row = {"verdict": "stopped", "reason": reason, "peak_mb": ended.peak_mb}
            yield {"target": targets[0], **row}
            targets = targets[1:]


def _make(name: str, folder: Path, limits: Limited) -> Row:
    """Writes the model unless it is there; what its rows say when that fails."""
    done = folder / "samples.npz"
    if done.exists():
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    ended = run_limited(["benchmarks.sweep_models", name, str(folder)], limits)
    if ended.why or not done.exists():
        return {"verdict": "not made", "reason": ended.why or ended.last_line}
    return {}


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a model, or a pattern of several")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--results", type=Path, default=Path("build/sweep/results.jsonl"))
    parser.add_argument("--folder", type=Path, default=Path("build/sweep"), help="for models")
    parser.add_argument("--table", type=Path, help="where the table is written, in Markdown")
    parser.add_argument("--minutes", type=float, help="start no model after as many")
    parser.add_argument("--seconds", type=float, default=900, help="limit of a pair")
    parser.add_argument("--memory", type=int, default=8000, help="limit of a process, in MB")
    return parser.parse_args()


if __name__ == "__main__":
    main()
