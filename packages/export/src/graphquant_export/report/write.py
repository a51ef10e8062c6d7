"""Writes a report: the page, and its data beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy.typing as npt

from graphquant_core.exceptions import ConfigError
from graphquant_core.exporter import ExportSource
from graphquant_core.files import check_writable, write_together
from graphquant_export.report.chapter import Chapter
from graphquant_export.report.data import report_data
from graphquant_export.report.page import render_page
from graphquant_export.verification import Verification


def report_paths(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Paths of the page and of the data that `write_report` writes.

    Raises:
        ConfigError: `path` ends in ``.json``.
        FileWriteError: One of them can't be written.
    """
    check_writable(path, "path")
    page = Path(path)
    data = page.with_suffix(".json")
    if data == page:
        raise ConfigError(f"path ({page}) must not end in .json: the data goes there")
    check_writable(data, "path")
    return page, data


def write_report(
    path: str | os.PathLike[str],
    verifications: Verification | Sequence[Verification],
    source: ExportSource,
    feeds: Mapping[str, npt.ArrayLike],
    *,
    title: str = "Quantisation report",
    batch_size: int | None = None,
    chapters: Sequence[Chapter] = (),
) -> tuple[Path, Path]:
    """Writes one page of HTML to `path`, and the same data as JSON with the ending ``.json``.

    The page needs no network and no other file. The same input gives the same bytes.

    Args:
        path: The page, such as ``report.html``.
        verifications: What `verify` returned for each target, all of the same source; with
            chapters there may be none.
        source: What the artifacts were made of: ``artifact.source``.
        feeds: Samples for each placeholder, by name: the values that the histograms show.
        title: Title of the page.
        batch_size: Samples that are run at once, as for `verify`.
        chapters: What else the page shows, such as `graphquant_tune.report_chapter` returns.

    Returns:
        The paths of the page and of the data.

    Raises:
        ConfigError: `path` ends in ``.json``, or there is nothing to show.
        FileWriteError: A file can't be written. After any error older files are as they were.
        ConfigError, RangeError, NonFiniteError: `feeds` don't fit the model.
    """
    several = [verifications] if isinstance(verifications, Verification) else list(verifications)
    if not (several or chapters) or not all(isinstance(x, Verification) for x in several):
        raise ConfigError("verifications must hold at least one Verification, as verify returns it")
    page, data = report_paths(path)
    from graphquant_export.report.facts import find_facts

    content = report_data(find_facts(source, feeds, batch_size), several, title)
    content |= {chapter.key: chapter.data for chapter in chapters}
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_together([(page, render_page(content, chapters)), (data, text)])
    return page, data
