"""The retrain configuration: its values, its JSON file and the short text definition.

Nothing here imports TensorFlow.
"""

from __future__ import annotations
