"""The rules of targets by the names that a user gives."""

from __future__ import annotations

from collections.abc import Sequence

from graphquant_core.exceptions import ConfigError
from graphquant_core.listing import brief_repr
from graphquant_core.registry import Registry, load_registry
from graphquant_core.target_rules import TargetRules


def target_names(target: str | Sequence[str]) -> tuple[str, ...]:
    """The names in `target`, which is one or several.

    Raises:
        ConfigError: `target` holds no name, or something else.
    """
    names = [target] if isinstance(target, str) else target
    several = isinstance(names, (list, tuple)) and bool(names)
    if not several or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"target ({brief_repr(target)}) must be the name of a target, or several")
    return tuple(names)


def rules_by_target(
    target: str | Sequence[str], registry: Registry | None = None
) -> dict[str, TargetRules]:
    """What each target called so rounds, by its name.

    Args:
        target: A name, or several.
        registry: Where exporters come from; the installed plugins by default.

    Raises:
        ConfigError: `target` holds no name, or something else.
        UnknownNameError: No exporter has such a name; names the closest.
    """
    known = registry or load_registry()
    names = target_names(target)
    return {name: getattr(known.exporter(name), "rules", TargetRules()) for name in names}
