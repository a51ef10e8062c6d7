"""The commands that plugins add to the app."""

from __future__ import annotations

import attrs
import typer

from graphquant_core.contributions import Contributions, Registration
from graphquant_core.exceptions import PluginError
from graphquant_core.plugin_loader import PluginFailure, failure
from graphquant_core.registry import Registry


@attrs.frozen
class PluginCommands:
    """Who added which command, and which plugins could not."""

    owners: tuple[Registration, ...]
    failures: tuple[PluginFailure, ...]


def add_plugin_commands(app: typer.Typer, registry: Registry, *built_in: str) -> PluginCommands:
    """Adds the commands and groups of every plugin to `app`, all those of a plugin or none.

    Each plugin fills an app of its own, so that it sees and changes no other command. One whose
    hook raises, or whose command has the name of a built-in one, is left out as a failure.

    Args:
        app: The app with the built-in commands.
        registry: Where the plugins come from.
        built_in: Names of built-in commands that `app` doesn't have yet.

    Raises:
        PluginError: Two plugins add a command of the same name; names both.
    """
    reserved = _names(app) | set(built_in)
    found, failures = Contributions(), []
    for plugin, add in registry.commands:
        own = typer.Typer()
        try:
            add(app=own)
            names = _names(own)
            taken = sorted(names & reserved)
            if taken:
                raise PluginError(f'its command "{taken[0]}" has the name of a built-in one')
        except Exception as error:  # noqa: BLE001 - the other plugins must go on
            failures.append(failure(plugin, error))
            continue
        for name in sorted(names):
            found.claim("command", name, plugin)
        app.registered_commands.extend(own.registered_commands)
        app.registered_groups.extend(own.registered_groups)
    return PluginCommands(tuple(found.owners.values()), tuple(failures))


def _names(app: typer.Typer) -> set[str]:
    return set(typer.main.get_group(app).commands)
