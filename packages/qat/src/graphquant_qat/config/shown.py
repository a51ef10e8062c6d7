"""Values and keys as an error message shows them: in the file's notation, and short."""

from __future__ import annotations

import json

from graphquant_core.listing import short


def shown(value: object) -> str:
    """`value` in JSON notation, cut to 160 characters; what an object or array holds is left out.

    Example: ``shown(True)`` is ``'true'``, ``shown("a")`` is ``'"a"'``.
    """
    if isinstance(value, (list, tuple)):
        brackets = "{}" if isinstance(value, tuple) else "[]"
        return f"{brackets[0]}...{brackets[1]}" if value else brackets
    return short(json.dumps(value, ensure_ascii=False))


def key_path(*keys: str) -> str:
    """`keys` joined by dots, each cut to 160 characters: ``conv1/Conv2D.retrain_data_config``."""
    return ".".join(short(json.dumps(key, ensure_ascii=False)[1:-1]) for key in keys)
