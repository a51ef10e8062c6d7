"""Exports, and what is printed of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from graphquant_cli.output import print_json
from graphquant_core.exceptions import FileWriteError
from graphquant_core.registry import load_registry

if TYPE_CHECKING:
    import tensorflow as tf

    from graphquant_core.export_options import OptionValue
    from graphquant_core.exporter import Artifact
    from graphquant_export.targets.mnn import LayerParams

RECORD = "_record.txt"
"""What the name of a record ends in that is written beside the files of an export."""


def check_inputs_are_kept(
    inputs: Mapping[str, Path], target: str, save_path: Path, more_endings: Sequence[str] = ()
) -> None:
    """Returns when no file of the export would replace an input, which may be the only copy.

    Args:
        inputs: Files that the command was given, by what they are called.
        target: Name of the exporter.
        save_path: Start of the names of the files.
        more_endings: What the names of files beside the exporter's end in.

    Raises:
        FileWriteError: A file has an input's own name.
        UnknownNameError: There is no such exporter.
    """
    for written in written_paths(target, save_path, more_endings):
        for called, path in inputs.items():
            if written.resolve() == path.resolve():
                raise FileWriteError(
                    f'--save-path ("{save_path}"): {written} would be written over the {called} '
                    f'itself; give another, such as "{save_path}_{target}"'
                )


def written_paths(target: str, save_path: Path, more_endings: Sequence[str]) -> list[Path]:
    """The files that an export may write, and those whose names end in `more_endings`.

    Raises:
        UnknownNameError: There is no such exporter.
    """
    from graphquant_core.exporter import EndingsExporter

    exporter = load_registry().exporter(target)
    known = exporter.endings if isinstance(exporter, EndingsExporter) else ()
    return [Path(f"{save_path}{ending}") for ending in (*known, *more_endings)]


def read_options(target: str, given: Sequence[str] | None) -> dict[str, OptionValue]:
    """The keywords that the texts of ``--option`` mean for the exporter called `target`.

    Raises:
        UnknownNameError: There is no such exporter.
        ConfigError: It has no such option, or none with such a value.
    """
    from graphquant_core.export_options import parse_options
    from graphquant_core.exporter import OptionsExporter

    exporter = load_registry().exporter(target)
    known = exporter.options if isinstance(exporter, OptionsExporter) else ()
    return parse_options(target, known, given or [])


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


def write_weight_sources(
    graph_def: tf.compat.v1.GraphDef,
    params: Sequence[LayerParams],
    save_path: Path,
    written: Collection[Path],
) -> tuple[Path, ...]:
    """Writes what `verify` takes as the model and its record, unless the target has written them.

    Args:
        graph_def: The graph with weights on their grids.
        params: How they are quantised.
        save_path: Start of the names of the files.
        written: The target's files.
    """
    from graphquant_core.files import write_whole
    from graphquant_export.targets.mnn import save_compress_params

    graph, record = Path(f"{save_path}.pb"), Path(f"{save_path}.json")
    if graph in written:
        return ()
    write_whole(graph, graph_def.SerializeToString(deterministic=True))
    save_compress_params(record, params)
    return graph, record
