"""Everything that the plugins contribute, looked up by name or by op type."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from graphquant_core.contributions import Contributions, Registration, collect
from graphquant_core.exceptions import UnknownNameError
from graphquant_core.listing import MOST_CHOICES, listed_names
from graphquant_core.plugin_loader import Plugin, PluginFailure, load_plugins
from graphquant_core.suggestions import closest

if TYPE_CHECKING:
    from graphquant_core.handler import LayerHandler
    from graphquant_core.quantizers import ActivationQuantizer, WeightQuantizer

Value = TypeVar("Value")


@attrs.frozen
class Registry:
    """What all plugins contribute; immutable.

    Attributes:
        handlers: Layer handler of each op type.
        activation_quantizers: Activation quantisers by name.
        weight_quantizers: Weight quantisers by name.
        exporters: Export targets by name.
        owners: Which plugin registered what, in the order of plugin names.
        failures: Plugins that could not be used.
        commands: Each plugin that has commands, and the function that adds them to an app.
    """

    handlers: Mapping[str, LayerHandler]
    activation_quantizers: Mapping[str, ActivationQuantizer]
    weight_quantizers: Mapping[str, WeightQuantizer]
    exporters: Mapping[str, Any]
    owners: tuple[Registration, ...]
    failures: tuple[PluginFailure, ...]
    commands: tuple[tuple[Plugin, Callable[..., object]], ...] = attrs.field(repr=False)

    def handler(self, op_type: str) -> LayerHandler:
        """The layer handler of `op_type`.

        Raises:
            UnknownNameError: no handler knows `op_type`; lists the op types that are known.
        """
        return _look_up(self.handlers, "op_type", op_type)

    def activation_quantizer(self, name: str) -> ActivationQuantizer:
        """The activation quantiser called `name`.

        Raises:
            UnknownNameError: there is none; lists those there are.
        """
        return _look_up(self.activation_quantizers, "activation quantizer", name)

    def weight_quantizer(self, name: str) -> WeightQuantizer:
        """The weight quantiser called `name`.

        Raises:
            UnknownNameError: there is none; lists those there are.
        """
        return _look_up(self.weight_quantizers, "weight quantizer", name)

    def exporter(self, name: str) -> Any:
        """The export target called `name`.

        Raises:
            UnknownNameError: there is none; lists those there are.
        """
        return _look_up(self.exporters, "exporter", name)


@functools.cache
def load_registry() -> Registry:
    """The registry of the installed plugins; cached until ``load_registry.cache_clear()``.

    Raises:
        PluginError: two plugins claim one name or op type, or a plugin breaks its contract.
    """
    plugins, failures = load_plugins()
    return _registry(collect(plugins), failures)


def build_registry(plugins: Iterable[tuple[str, object]]) -> Registry:
    """The registry of the given plugins, (name, module or object) each, and of no other.

    Raises:
        PluginError: two plugins claim one name or op type, or a plugin breaks its contract.
    """
    return _registry(collect([Plugin(*plugin) for plugin in plugins]), ())


def _registry(found: Contributions, failures: tuple[PluginFailure, ...]) -> Registry:
    return Registry(
        handlers=MappingProxyType(found.handlers),
        activation_quantizers=MappingProxyType(found.named["activation_quantizer"]),
        weight_quantizers=MappingProxyType(found.named["weight_quantizer"]),
        exporters=MappingProxyType(found.named["exporter"]),
        owners=tuple(found.owners.values()),
        failures=(*failures, *found.failures),
        commands=tuple(found.commands),
    )


def _look_up(known: Mapping[str, Value], kind: str, name: str) -> Value:
    try:
        return known[name]
    except KeyError:
        there = listed_names(known, most=MOST_CHOICES)
        raise UnknownNameError(
            f'{kind} ("{name}") is not registered{closest(name, known)} (registered: {there})'
        ) from None
