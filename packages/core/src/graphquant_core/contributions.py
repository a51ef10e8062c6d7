"""Asks each plugin what it contributes, checks it, and keeps account of who owns what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
import pluggy

from graphquant_core import hookspecs
from graphquant_core.exceptions import PluginError
from graphquant_core.listing import brief_repr
from graphquant_core.plugin_loader import DISABLE_VARIABLE, Plugin, PluginFailure, failure

KINDS = {
    "layer_handler": "graphquant_layer_handlers",
    "activation_quantizer": "graphquant_activation_quantizers",
    "weight_quantizer": "graphquant_weight_quantizers",
    "exporter": "graphquant_exporters",
}
"""Hook that contributes the values of each kind."""

METHODS = {
    "layer_handler": "describe",
    "activation_quantizer": "build",
    "weight_quantizer": "build",
    "exporter": "export",
}
"""Method that a value of each kind must have."""


@attrs.frozen
class Registration:
    """Who contributed what.

    Attributes:
        kind: ``plugin``, ``layer_handler``, ``op_type``, ``activation_quantizer``,
            ``weight_quantizer``, ``exporter`` or ``command``.
        name: What it is registered under.
        plugin: Entry-point name of the plugin.
        distribution: Distribution that installed it, ``""`` when there is none.
        version: Version of the distribution.
    """

    kind: str
    name: str
    plugin: str
    distribution: str
    version: str


@attrs.define
class Contributions:
    """Everything collected so far."""

    handlers: dict[str, Any] = attrs.field(factory=dict)
    named: dict[str, dict[str, Any]] = attrs.field(factory=lambda: {kind: {} for kind in KINDS})
    owners: dict[tuple[str, str], Registration] = attrs.field(factory=dict)
    failures: list[PluginFailure] = attrs.field(factory=list)
    commands: list[tuple[Plugin, Callable[..., object]]] = attrs.field(factory=list)

    def claim(self, kind: str, name: str, plugin: Plugin) -> None:
        """Notes `plugin` as the owner of `name`.

        Raises:
            PluginError: `name` has an owner already; names both.
        """
        owned = Registration(kind, name, plugin.name, plugin.distribution, plugin.version)
        other = self.owners.setdefault((kind, name), owned)
        if other is not owned:
            first = Plugin(other.plugin, None, other.distribution, other.version)
            raise PluginError(
                f'{kind} "{name}" is registered twice: by plugin {first} and by plugin {plugin}; '
                f"uninstall one, or leave one out with {DISABLE_VARIABLE}={plugin.name}"
            )


def collect(plugins: Iterable[Plugin]) -> Contributions:
    """What `plugins` contribute. One whose hook raises is left out whole, as a failure.

    Raises:
        PluginError: a plugin breaks its contract, or two claim one name or op type.
    """
    found = Contributions()
    for plugin in plugins:
        hooks = _hooks(plugin)
        try:
            answers = {kind: getattr(hooks, hook)() for kind, hook in KINDS.items()}
            values = {kind: _flat(kind, answer, plugin) for kind, answer in answers.items()}
        except PluginError:
            raise
        except Exception as error:  # noqa: BLE001 - anything can go wrong in someone else's hook
            found.failures.append(failure(plugin, error))
            continue
        found.claim("plugin", plugin.name, plugin)
        for kind, contributed in values.items():
            for value in contributed:
                _add(found, kind, value, plugin)
        if hooks.graphquant_commands.get_hookimpls():
            found.commands.append((plugin, hooks.graphquant_commands))
    return found


def _hooks(plugin: Plugin) -> Any:
    """The hooks of one plugin alone, so that each answer has a known owner."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin.implementation, plugin.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"plugin {plugin} breaks its contract: {error}") from error
    return manager.hook


def _flat(kind: str, answers: list[Any], plugin: Plugin) -> list[Any]:
    for answer in answers:
        if isinstance(answer, str) or not isinstance(answer, Iterable):
            raise PluginError(
                f"plugin {plugin} breaks its contract: {KINDS[kind]} returned "
                f"{brief_repr(answer)}, a list is expected"
            )
    return [value for answer in answers for value in answer]


def _add(found: Contributions, kind: str, value: Any, plugin: Plugin) -> None:
    name = getattr(value, "name", None)
    if not isinstance(name, str) or not name:
        raise PluginError(
            f"plugin {plugin} breaks its contract: the name ({brief_repr(name)}) of {kind} "
            f"{brief_repr(value)} must be a text that is not empty"
        )
    if not callable(getattr(value, METHODS[kind], None)):
        raise PluginError(
            f'plugin {plugin} breaks its contract: {kind} "{name}" has no method {METHODS[kind]}'
        )
    found.claim(kind, name, plugin)
    found.named[kind][name] = value
    if kind == "layer_handler":
        for op_type in _op_types(value, plugin):
            found.claim("op_type", op_type, plugin)
            found.handlers[op_type] = value


def _op_types(handler: Any, plugin: Plugin) -> list[str]:
    op_types: Any = getattr(handler, "op_types", None)
    fits = isinstance(op_types, (frozenset, set, tuple, list)) and bool(op_types)
    if not fits or not all(isinstance(op_type, str) and op_type for op_type in op_types):
        raise PluginError(
            f"plugin {plugin} breaks its contract: op_types ({brief_repr(op_types)}) of layer "
            f'handler "{handler.name}" must be a set of op types that is not empty'
        )
    return sorted(op_types)
