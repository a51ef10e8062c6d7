"""The end of a command's help: examples, one a line."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """Epilog with `lines`, which stay lines of their own."""
    return "\n".join(["\b", "Examples:", *(f"  graphquant {line}" for line in lines)])
