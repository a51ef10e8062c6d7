"""The answer to a name that a configuration file gives and the plan doesn't know."""

from __future__ import annotations

from graphquant_core.exceptions import UnknownNameError
from graphquant_core.listing import choices
from graphquant_core.plan import Plan
from graphquant_core.registry import load_registry
from graphquant_core.suggestions import closest
from graphquant_qat.config.shown import shown


def unknown_layer(name: str, plan: Plan, place: str) -> UnknownNameError:
    """The error for a `name` that is no layer of `plan`: why it is skipped, or what is closest."""
    for skip in plan.skips:
        if skip.name == name:
            return UnknownNameError(
                f"{place}: layer {shown(name)} cannot be quantised: {skip.reason}"
            )
    known = [layer.name for layer in plan.layers]
    return UnknownNameError(
        f"{place}: the graph has no layer {shown(name)} that can be quantised{closest(name, known)}"
    )


def supported_types(plan: Plan) -> tuple[str, ...]:
    """Op types that have a handler, sorted, with those of `plan` whatever is installed now."""
    return tuple(sorted({row.op_type for row in plan.rows} | set(load_registry().handlers)))


def unknown_type(op_type: str, plan: Plan, place: str) -> UnknownNameError:
    """The error for an `op_type` that no handler knows."""
    known = supported_types(plan)
    return UnknownNameError(
        f"{place}: op type {shown(op_type)} cannot be quantised{closest(op_type, known)} "
        f"(supported: {choices(known)})"
    )
