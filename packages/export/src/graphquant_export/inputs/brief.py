"""What another library says of a broken file, in one line."""

from __future__ import annotations

_LONGEST = 300


def brief(error: Exception) -> str:
    """The message of `error` on one line of at most 300 characters; its type if it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
