"""Advice that several handlers give."""

from __future__ import annotations

FEW_CHANNELS = 16


def few_input_channels(channels: int) -> tuple[str, ...]:
    """AMCT's note on narrow layers: they gain no speed on its hardware and may lose accuracy."""
    if channels > FEW_CHANNELS:
        return ()
    return (
        f"has {channels} input channels; Ascend advises against quantising {FEW_CHANNELS} or fewer",
    )
