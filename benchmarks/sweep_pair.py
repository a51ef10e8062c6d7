"""One model through `quantize`, `export` and `verify`; prints a row as JSON for each target.

`python -m benchmarks.sweep_pair MODEL FOLDER TARGET...`: MODEL is a file, FOLDER holds
calibration.npz and samples.npz. A process of its own: a converter may crash. The model is loaded
once, within the first target's seconds.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import graphquant_export as gq
from graphquant_core.exceptions import GraphQuantError

if TYPE_CHECKING:
    from graphquant_export.verification import Verification

BATCH = 8


class _Given(NamedTuple):
    model: gq.LoadedModel
    calibration: dict[str, np.ndarray]
    samples: dict[str, np.ndarray]


def main() -> None:
    """Run a model's pairs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("targets", nargs="+")
    arguments = parser.parse_args()
    given = functools.cache(functools.partial(_load, arguments.model, arguments.folder))
    for target in arguments.targets:
        print(json.dumps(_row(given, target, arguments.folder)), flush=True)


def _load(model: Path, folder: Path) -> _Given:
    loaded = gq.load_model(model)
    files = [folder / f"{name}.npz" for name in ("calibration", "samples")]
    return _Given(loaded, *(gq.load_samples(file, loaded.inputs) for file in files))


def _row(given: Callable[[], _Given], target: str, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"target": target, "seconds": {}}
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
    try:
        with tempfile.TemporaryDirectory(dir=folder) as into:
            _run(given, target, Path(into) / "model", row)
        row["verdict"] = "right" if not row["problems"] else "wrong"
    except GraphQuantError as error:
        row |= {"verdict": "refused", "reason": f"{type(error).__name__}: {error}"}
    except Exception as error:  # noqa: BLE001 - what isn't ours is what the sweep looks for
        row |= {"verdict": "crash", "reason": f"{type(error).__name__}: {error}"}
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {**row, "peak_mb": round(max(_peak_kb(), children) / 1024)}


def _peak_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _run(given: Callable[[], _Given], target: str, save_path: Path, row: dict[str, Any]) -> None:
    """Fills `row` as far as the pair gets."""
    clock = _Clock(row["seconds"])
    model, calibration, samples = given()
    clock("load")
    record = gq.quantize(model, calibration, target, batch_size=BATCH)
    row["layers"] = len(record)
    clock("quantize")
    artifact = gq.export(model, record, target, save_path, samples=calibration)
    row["bytes"] = sum(path.stat().st_size for path in artifact.paths)
    clock("export")
    found = gq.verify(artifact, samples, layers=True, batch_size=BATCH)
    clock("verify")
    row |= figures(found)


def figures(found: Verification) -> dict[str, Any]:
    """What a row says of the verification: of the first output, where there are several."""
    first = found.outputs[0]
    held = first.reference or first.simulation
    beside = first.float_model or first.simulation
    own = found.most_different()
    executions = [row.execution for row in found.executions]
    return {
        "problems": list(found.problems()),
        "carried": list(found.carried()),
        "sqnr_float": beside.sqnr,
        "top1_float": beside.agreement if first.classes else None,
        "sqnr_exact": held.sqnr,
        "mean_steps_exact": held.mean,
        "top1_exact": held.agreement if first.classes else None,
        "near_ties": first.near_ties,
        "largest_own_mean": own.own.mean if own and own.own else 0.0,
        "executions": {kind: executions.count(kind) for kind in sorted(set(executions))},
    }


class _Clock:
    """Notes the seconds since it was called last."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._last = time.perf_counter()

    def __call__(self, step: str) -> None:
        now = time.perf_counter()
        self._seconds[step] = round(now - self._last, 1)
        self._last = now


if __name__ == "__main__":
    main()
