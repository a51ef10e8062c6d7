"""What another library says of a broken file, in one line."""

from __future__ import annotations

import re

_LONGEST = 300
_TRACEBACK = re.compile(r"Graph execution error:\s+Detected at node.*?\nNode: '[^']*'\n", re.DOTALL)
"""Where TensorFlow built an op, which says nothing to whoever gave the file."""
_NO_NCHW = re.compile("only supports (the )?NHWC")
_WAY_OUT = "this processor has NCHW only with TF_ENABLE_ONEDNN_OPTS=1, set before TensorFlow starts"


def brief(error: Exception) -> str:
    """The message of `error` on one line of at most 300 characters; its type if it has none.

    TensorFlow's traceback of the op is left out. Where it lacks kernels for NCHW, the line says
    what brings them.
    """
    message = _TRACEBACK.sub("", str(error))
    text = " ".join(message.split()) or type(error).__name__
    if _NO_NCHW.search(text):
        return _WAY_OUT
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
