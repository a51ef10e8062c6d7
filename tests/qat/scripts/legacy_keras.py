"""tf_keras as tf.keras, and tf_slim on top of it. Import this before TensorFlow."""

from __future__ import annotations

import importlib
import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"

# What tf_slim imports its layers from; tf_keras 2.21 has it below `src` only.
_LAYERS = "tf_keras.legacy_tf_layers"
for _suffix in ("", ".base", ".convolutional", ".core", ".normalization", ".pooling"):
    sys.modules[_LAYERS + _suffix] = importlib.import_module(
        f"tf_keras.src.legacy_tf_layers{_suffix}"
    )
