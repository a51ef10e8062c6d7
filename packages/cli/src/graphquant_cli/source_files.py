"""The record and the graph that exported files were made of, where they stand beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from graphquant_cli.exporting import RECORD, written_paths
from graphquant_core.exceptions import ModelFileError
from graphquant_core.listing import listed_names

WEIGHTS, GRAPH = ".json", ".pb"
"""How weights alone are quantised, and the graph with such weights, or a tuned one."""
SUMMARY, TUNED = "_tune.json", "_tuned.pb"
"""What `tune` found out, and its graph where the target has a file called .pb."""
RECORD_DIGEST = "record_sha256"
"""What the summary calls the digest of the record that the tuned graph has."""


class Sources(NamedTuple):
    """What `verify` compares exported files with.

    Attributes:
        record: The record, or how weights alone are quantised.
        graph: The frozen graph that it is about, where that isn't the model that was given.
    """

    record: Path
    graph: Path | None


def find_sources(
    model: Path, record: Path | None, save_path: Path, targets: Sequence[str]
) -> Sources:
    """The record that stands at `save_path`, unless one is given, and the graph that it is about.

    A graph counts when its weights are on the record's grids, as `quantize --weight-only` writes
    it, or when `tune` wrote it with this very record.

    Args:
        model: The model that was given.
        record: The record that was given.
        save_path: Start of the names of the files.
        targets: Names of the exporters that wrote them.

    Raises:
        ModelFileError: No record is given, and none or more than one stands there.
        UnknownNameError: There is no such exporter.
    """
    found = record or _only_record(save_path)
    graph = None
    if _same(found, Path(f"{save_path}{WEIGHTS}")):
        graph = Path(f"{save_path}{GRAPH}")
    elif _same(found, Path(f"{save_path}{RECORD}")) and _is_tuned(found, save_path):
        own = [path for target in targets for path in written_paths(target, save_path, ())]
        tuned, plain = Path(f"{save_path}{TUNED}"), Path(f"{save_path}{GRAPH}")
        graph = tuned if plain in own else plain
    if graph is None or not graph.exists() or _same(graph, model):
        return Sources(found, None)
    return Sources(found, graph)


def digest(path: Path) -> str:
    """SHA-256 of the file at `path`, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _only_record(save_path: Path) -> Path:
    from graphquant_export.targets.mnn import is_of_weights_alone

    record, weights = Path(f"{save_path}{RECORD}"), Path(f"{save_path}{WEIGHTS}")
    # A .json may be somebody else's, or what a target has beside its integers.
    of_weights = weights.exists() and is_of_weights_alone(weights)
    if record.exists() != of_weights:
        return weights if of_weights else record
    names = listed_names((record, weights))
    raise ModelFileError(
        f'--save-path ("{save_path}"): {names} both stand there; name the one that the files were '
        "made of by --record"
        if of_weights
        else f'--record is missing, and none stands at --save-path ("{save_path}"): {names} are '
        "what `quantize` and `tune` write; name the one that the files were made of"
    )


def _same(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve()


def _is_tuned(record: Path, save_path: Path) -> bool:
    """Whether `tune` wrote this record, and nothing else has replaced it since."""
    summary = Path(f"{save_path}{SUMMARY}")
    if not summary.exists() or not record.exists():
        return False
    try:
        return json.loads(summary.read_text()).get(RECORD_DIGEST) == digest(record)
    except (ValueError, AttributeError):
        return False
