"""Hypothesis profiles of the whole suite."""

from __future__ import annotations

import os

# Whether TensorFlow's CPU has convolutions in NCHW depends on the processor unless it is told.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from hypothesis import settings

# No deadline: the first run of a TensorFlow graph takes seconds.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
# Many broken files: pytest --hypothesis-profile=fuzz tests/contract -k hostile
settings.register_profile("fuzz", deadline=None, max_examples=20_000, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
