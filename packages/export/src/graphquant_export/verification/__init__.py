"""An artifact in its real runtime beside the TensorFlow simulation and the integer reference.

Importing this room, and reading a verification's JSON, starts no TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.lazy_names import lazy_names
from graphquant_export.verification.checks import (
    Accuracy,
    ArtifactFile,
    LayerCheck,
    OutputCheck,
)
from graphquant_export.verification.comparison import Comparison
from graphquant_export.verification.limits import Limits
from graphquant_export.verification.rows import LAYER_HEADER, SUMMARY_HEADER
from graphquant_export.verification.verification import Verification

if TYPE_CHECKING:
    from graphquant_export.verification.artifacts import open_artifact
    from graphquant_export.verification.verifier import verify

__all__ = [
    "LAYER_HEADER",
    "SUMMARY_HEADER",
    "Accuracy",
    "ArtifactFile",
    "Comparison",
    "LayerCheck",
    "Limits",
    "OutputCheck",
    "Verification",
    "open_artifact",
    "verify",
]

__getattr__ = lazy_names(__name__, {"open_artifact": ".artifacts", "verify": ".verifier"})
