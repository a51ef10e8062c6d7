"""Models as TensorFlow users have them, each as one frozen graph.

Importing this starts no TensorFlow; `load_model` does, once it knows that there is a model.
"""

from __future__ import annotations

from graphquant_export.inputs.load import load_model
from graphquant_export.inputs.loaded_model import LoadedModel
from graphquant_export.inputs.samples import load_samples

__all__ = ["LoadedModel", "load_model", "load_samples"]
