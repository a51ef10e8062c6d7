"""How often `verify` blames an export that is right: random networks, each for one of the targets.

    python -m benchmarks.false_alarms [--nets 200] [--minutes N]

Every network of `graphquant_core.testing.graphs` is quantised from samples, exported and verified
on other samples, layer by layer; the targets take turns. Nothing is wrong with any of them, so what
`verify` names is a false alarm. Results are appended to a file of JSON lines; what is in it already
isn't run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import graphquant_export as gq
from benchmarks.report import print_table
from graphquant_core.exceptions import GraphQuantError
from graphquant_core.testing.graphs import LAYER_TYPES, STORAGES, GraphSpec, LayerSpec, build_graph

TARGETS = ("ascend", "onnx", "litert", "mnn")
CALIBRATION, SAMPLES = 64, 32
MOST_LAYERS = 6
FORMATS = {"target": "{}", "nets": "{}", "alarms": "{}", "refused": "{}"}


def main() -> None:
    """Verify the networks that have no result yet, and print how many were blamed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=600.0, help="start no net after as many")
    parser.add_argument("--results", type=Path, default=Path("build/false_alarms.jsonl"))
    arguments = parser.parse_args()
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    start, done = time.monotonic(), {row["seed"] for row in read_rows(arguments.results)}
    for seed in [seed for seed in range(arguments.nets) if seed not in done]:
        if time.monotonic() - start > 60 * arguments.minutes:
            sys.exit(f"stopped after {arguments.minutes:g} minutes, at network {seed}")
        row = verified(seed, TARGETS[seed % len(TARGETS)])
        with arguments.results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if row["problems"]:
            print(f"{row['target']}, seed {seed}: {row['problems']}", flush=True)
    rows = [row for row in read_rows(arguments.results) if row["seed"] < arguments.nets]
    print_table("random networks that verify blames", FORMATS, summary(rows))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The results so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each target."""
    found = []
    for target in TARGETS:
        own = [row for row in rows if row["target"] == target]
        refused = [row for row in own if row["refused"]]
        alarms = sum(bool(row["problems"]) for row in own)
        found.append(
            {"target": target, "nets": len(own), "alarms": alarms, "refused": len(refused)}
        )
    return found


def verified(seed: int, target: str) -> dict[str, Any]:
    """What `verify` says of one network."""
    net = build_graph(random_spec(seed))
    name = net.input.op.name
    row: dict[str, Any] = {"seed": seed, "target": target, "problems": [], "refused": None}
    with tempfile.TemporaryDirectory() as folder:
        model = gq.LoadedModel(net.graph.as_graph_def(), (name,), (net.output.op.name,))
        calibration = {name: net.batch(CALIBRATION, 1)}
        record = gq.quantize(model, calibration, target)
        try:
            path = Path(folder) / "model"
            artifact = gq.export(model, record, target, path, samples=calibration)
        except GraphQuantError as error:
            return row | {"refused": str(error)}
        except Exception as error:  # noqa: BLE001 - what isn't ours is counted, too
            return row | {"refused": f"{type(error).__name__}: {error}"}
        found = gq.verify(artifact, {name: net.batch(SAMPLES, 2)}, layers=True)
    return row | {"problems": list(found.problems())}


def random_spec(seed: int) -> GraphSpec:
    """A network of 1 to 6 layers with constant weights."""
    random = np.random.default_rng(seed)

    def one(values: tuple[Any, ...]) -> Any:
        return values[random.integers(len(values))]

    layers = tuple(
        LayerSpec(
            op_type=one(LAYER_TYPES),
            channels=int(random.integers(1, 13)),
            kernel=int(random.integers(1, 4)),
            stride=int(random.integers(1, 3)),
            batch_norm=one(("none", "fused", "unfused")),
            bias=one(("none", "BiasAdd", "AddV2")),
            activation=one(("none", "Relu", "Relu6")),
        )
        for _ in range(random.integers(1, MOST_LAYERS + 1))
    )
    size, channels = int(random.integers(4, 13)), int(random.integers(1, 9))
    return GraphSpec(size, channels, layers, int(random.integers(2, 9)), STORAGES[-1], seed)


if __name__ == "__main__":
    main()
