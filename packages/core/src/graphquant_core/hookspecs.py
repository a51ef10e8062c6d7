"""The hooks of graphquant: what a plugin can add.

A plugin is a module (or any object) with functions marked `hookimpl`, named by an entry point:

.. code-block:: toml

    [project.entry-points.graphquant]
    my_plugin = "my_package.my_module"

.. code-block:: python

    from graphquant_core import hookimpl

    @hookimpl
    def graphquant_layer_handlers():
        return [MyHandler()]

Entry-point names are unique among all installed plugins. `GRAPHQUANT_DISABLE_PLUGINS=my_plugin`
in the environment leaves a plugin out; several names are separated by commas.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from graphquant_core.exporter import Exporter
    from graphquant_core.handler import LayerHandler
    from graphquant_core.quantizers import ActivationQuantizer, WeightQuantizer

PROJECT = "graphquant"
"""Pluggy project name, hook prefix and entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def graphquant_layer_handlers() -> Iterable[LayerHandler]:  # type: ignore[empty-body]
    """Handlers of op types, each with a `name`, `op_types` and `describe(op)`.

    An op type has one handler: a second one is a PluginError that names both plugins.
    """


@hookspec
def graphquant_activation_quantizers() -> Iterable[ActivationQuantizer]:  # type: ignore[empty-body]
    """Strategies that build the fake quantisation of an activation, each with a unique `name`."""


@hookspec
def graphquant_weight_quantizers() -> Iterable[WeightQuantizer]:  # type: ignore[empty-body]
    """Strategies that build the fake quantisation of a weight, each with a unique `name`."""


@hookspec
def graphquant_exporters() -> Iterable[Exporter]:  # type: ignore[empty-body]
    """Export targets, each with a unique `name`: `graphquant_core.exporter.Exporter`."""


@hookspec
def graphquant_commands(app: Any) -> None:
    """Adds commands, or groups of commands, to `app`, a typer application.

    The names must be new: neither a built-in command's nor another plugin's.
    """
