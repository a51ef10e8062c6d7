"""Exports, and what is printed of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from graphquant_cli.output import print_json
from graphquant_core.exceptions import FileWriteError

if TYPE_CHECKING:
    from graphquant_core.exporter import Artifact
    from graphquant_export.inputs import LoadedModel

_SAMPLES_FOR_RANGES = 64


def check_model_is_kept(model: Path, target: str, save_path: Path, weight_only: bool) -> None:
    """Returns when no file of the export would replace `model`, which may be the only copy.

    Args:
        model: The model as it was given.
        target: Name of the exporter.
        save_path: Start of the names of the files.
        weight_only: Whether the graph with its weights on their grids is written, too.

    Raises:
        FileWriteError: The target's frozen graph has the model's own name.
    """
    frozen = Path(f"{save_path}.pb")
    if (target == "mnn" or weight_only) and frozen.resolve() == model.resolve():
        raise FileWriteError(
            f'--save-path ("{save_path}"): {frozen} would be written over the model itself; give '
            f'another, such as "{save_path}_{target}"'
        )


def export_to(
    target: str,
    model: LoadedModel,
    record: Any,
    save_path: Path,
    samples: Mapping[str, Any] | None = None,
) -> Artifact:
    """What the exporter called `target` makes of `model` and `record`.

    Args:
        target: Name of the exporter.
        model: The model.
        record: The factors of its layers.
        save_path: Start of the names of the files.
        samples: Samples for its inputs; the first 64 are run for the ranges of results.
    """
    from graphquant_core.registry import load_registry

    exporter = load_registry().exporter(target)
    options: dict[str, Any] = {}
    if samples is not None:
        options["calibration"] = _first(samples)
    artifact: Artifact = exporter.export(
        model.graph_def, list(model.outputs), record, save_path, **options
    )
    return artifact


def print_artifact(
    artifact: Artifact,
    as_json: bool,
    more: Mapping[str, Any] | None = None,
    sources: tuple[Path, ...] = (),
) -> None:
    """Print the files of `artifact` and `sources`, and in JSON what `more` holds as well."""
    paths = [str(path) for path in (*artifact.paths, *sources)]
    if as_json:
        print_json({"paths": paths, **(more or {})})
        return
    for path in paths:
        typer.echo(f"wrote {path}")


def _first(samples: Mapping[str, Any]) -> dict[str, Any]:
    count = max((len(value) for value in samples.values() if value.ndim), default=0)
    return {
        name: value[:_SAMPLES_FOR_RANGES] if value.ndim and len(value) == count else value
        for name, value in samples.items()
    }
