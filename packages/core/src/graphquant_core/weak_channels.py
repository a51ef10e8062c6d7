"""What to tell of channels that hold nothing, or too little for a target."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]


def weak_channels(dead: Flags, tiny: Flags, fate: str) -> list[str]:
    """A sentence on the channels that are all zero and one on those that lose what they hold.

    >>> weak_channels(np.array([False, True]), np.array([False, False]), "")
    ['1 of 2 channels is all zero (the first is 1)']

    Args:
        dead: Which channels are all zero, ``[C]``.
        tiny: Which others have a scale that the target can't use, ``[C]``.
        fate: What the target does to those and why, to end a sentence.
    """
    sentences = []
    if dead.any():
        sentences.append(_which(dead, "all zero"))
    if tiny.any():
        sentences.append(f"{_which(tiny, 'too small')}: {fate}")
    return sentences


def _which(flags: Flags, what: str) -> str:
    count = int(np.count_nonzero(flags))
    verb = "is" if count == 1 else "are"
    first = int(np.argmax(flags))
    return f"{count} of {flags.size} channels {verb} {what} (the first is {first})"
