"""Finds and imports the installed plugins.

Pluggy's own loader passes over a second plugin of the same name without a word, and one broken
plugin stops it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

import attrs

from graphquant_core.exceptions import PluginError
from graphquant_core.hookspecs import PROJECT
from graphquant_core.suggestions import closest

DISABLE_VARIABLE = "GRAPHQUANT_DISABLE_PLUGINS"

logger = logging.getLogger(__name__)


@attrs.frozen
class Plugin:
    """An imported plugin: its entry-point name, its object, and who installed it."""

    name: str
    implementation: object
    distribution: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f'"{self.name}" of {self.distribution} {self.version}'.removesuffix(" of  ")


@attrs.frozen
class PluginFailure:
    """A plugin that could not be used: its name, who installed it, and the reason."""

    plugin: str
    distribution: str
    version: str
    reason: str


def load_plugins() -> tuple[tuple[Plugin, ...], tuple[PluginFailure, ...]]:
    """Every installed plugin that is not disabled, by name; and those that failed to import.

    Raises:
        PluginError: two entry points of the group have the same name; names both distributions.
    """
    plugins, failures = [], []
    for entry_point in _enabled(entry_points(group=PROJECT)):
        plugin = Plugin(entry_point.name, None, *_origin(entry_point))
        try:
            implementation = entry_point.load()
        except Exception as error:  # noqa: BLE001 - anything can go wrong in someone else's import
            failures.append(failure(plugin, error))
        else:
            plugins.append(attrs.evolve(plugin, implementation=implementation))
    return tuple(plugins), tuple(failures)


def failure(plugin: Plugin, error: Exception) -> PluginFailure:
    """The record of a failing plugin, logged as a warning."""
    reason = f"{type(error).__name__}: {error}"
    logger.warning("plugin %s is left out: %s", plugin, reason)
    return PluginFailure(plugin.name, plugin.distribution, plugin.version, reason)


def _enabled(found: Iterable[EntryPoint]) -> list[EntryPoint]:
    disabled = {name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",")} - {""}
    by_name: dict[str, EntryPoint] = {}
    seen = set()
    for entry_point in found:
        seen.add(entry_point.name)
        if entry_point.name in disabled:
            continue
        other = by_name.setdefault(entry_point.name, entry_point)
        if other is not entry_point:
            raise PluginError(
                f'two plugins are named "{entry_point.name}": {_described(other)} and '
                f"{_described(entry_point)}; uninstall one, or set {DISABLE_VARIABLE}="
                f"{entry_point.name} to leave out both"
            )
    for name in sorted(disabled - seen):
        logger.warning('%s names no plugin: "%s"%s', DISABLE_VARIABLE, name, closest(name, seen))
    return [by_name[name] for name in sorted(by_name)]


def _origin(entry_point: EntryPoint) -> tuple[str, str]:
    distribution = entry_point.dist
    return (distribution.name, distribution.version) if distribution else ("", "")


def _described(entry_point: EntryPoint) -> str:
    return f"{' '.join(_origin(entry_point))} ({entry_point.value})"
