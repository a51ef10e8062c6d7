"""One model through `quantize`, `export` and `verify` for one target; prints a row as JSON.

`python -m benchmarks.sweep_pair MODEL FOLDER TARGET`: MODEL is a file, FOLDER holds
calibration.npz and samples.npz. A process of its own: a converter may crash, and its peak of memory
is the pair's. The first pair of a model leaves the frozen graph for the others.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import graphquant_export as gq
from graphquant_core.exceptions import GraphQuantError

if TYPE_CHECKING:
    from graphquant_export.verification import Verification

BATCH = 16


def main() -> None:
    """Run one pair."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target")
    arguments = parser.parse_args()
    row: dict[str, Any] = {"seconds": {}}
    try:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as into:
            run(arguments.model, arguments.folder, arguments.target, Path(into) / "model", row)
        row["verdict"] = "right" if not row["problems"] else "wrong"
    except GraphQuantError as error:
        row |= {"verdict": "refused", "reason": f"{type(error).__name__}: {error}"}
    except Exception as error:  # noqa: BLE001 - what isn't ours is what the sweep looks for
        row |= {"verdict": "crash", "reason": f"{type(error).__name__}: {error}"}
    used = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    row["peak_mb"] = round(max(resource.getrusage(who).ru_maxrss for who in used) / 1024)
    json.dump(row, sys.stdout)


def run(model: Path, folder: Path, target: str, save_path: Path, row: dict[str, Any]) -> None:
    """Fills `row` as far as the pair gets."""
    clock = _Clock(row["seconds"])
    loaded = _loaded(model, folder)
    calibration, samples = (
        gq.load_samples(folder / f"{name}.npz", loaded.inputs)
        for name in ("calibration", "samples")
    )
    clock("load")
    record = gq.quantize(loaded, calibration, target, batch_size=BATCH)
    row["layers"] = len(record)
    clock("quantize")
    artifact = gq.export(loaded, record, target, save_path, samples=calibration)
    row["bytes"] = sum(path.stat().st_size for path in artifact.paths)
    clock("export")
    found = gq.verify(artifact, samples, layers=True, batch_size=BATCH)
    clock("verify")
    row |= figures(found)


def _loaded(model: Path, folder: Path) -> gq.LoadedModel:
    frozen, names = folder / "frozen.pb", folder / "outputs.json"
    if names.exists():
        return gq.load_model(frozen, json.loads(names.read_text()))
    loaded = gq.load_model(model)
    frozen.write_bytes(loaded.graph_def.SerializeToString())
    names.write_text(json.dumps(loaded.outputs))
    return loaded


def figures(found: Verification) -> dict[str, Any]:
    """What a row says of the verification: of the first output, where there are several."""
    first = found.outputs[0]
    held = first.reference or first.simulation
    beside = first.float_model or first.simulation
    own = found.most_different()
    executions = [row.execution for row in found.executions]
    return {
        "problems": list(found.problems()),
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
