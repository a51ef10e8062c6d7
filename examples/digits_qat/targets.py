"""The trained graph in other runtimes: exported, run there, and compared with the simulation."""

from __future__ import annotations

import os
from typing import Any

import network
from data import Digits
from files import Files

from graphquant_core import load_registry
from graphquant_core.exceptions import MissingDependencyError
from graphquant_core.graph.frozen import load_graph_def
from graphquant_export import read_record
from graphquant_export.report import write_report
from graphquant_export.verification import Verification, verify

TARGETS = ("mnn", "onnx", "litert")


def deploy(digits: Digits, files: Files) -> dict[str, Any]:
    """What each target computes, as plain data, and a page about it; a missing runtime is named."""
    model, record = load_graph_def(files.retrained_frozen), read_record(files.record)
    feeds = {"images": digits.test_images}
    verified: dict[str, Verification] = {}
    found: dict[str, Any] = {}
    for target in TARGETS:
        exporter = load_registry().exporter(target)
        try:
            artifact = exporter.export(
                model,
                [network.OUTPUT],
                record,
                files.save_path,
                calibration={"images": digits.train_images},
            )
            verified[target] = verify(artifact, feeds, labels=digits.test_labels, layers=True)
        except MissingDependencyError as error:
            found[target] = {"missing": str(error)}
            continue
        found[target] = figures(verified[target], str(artifact.paths[0]))
        source = artifact.source
    if verified:
        write_report(files.report, list(verified.values()), source, feeds, title="Digits")
    return found


def figures(verification: Verification, file: str) -> dict[str, Any]:
    """How many layers are integers, how often the digit is right, and as in training."""
    output = verification.outputs[0]
    assert output.accuracy is not None
    layers = [layer.execution for layer in verification.executions]
    return {
        "int8_layers": layers.count("int8"),
        "layers": len(layers),
        "accuracy": output.accuracy.runtime,
        "agreement": output.simulation.agreement,
        "file_bytes": os.path.getsize(file),
        "file": file,
    }
