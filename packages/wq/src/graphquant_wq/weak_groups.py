"""Groups of weights that MNN stores as one value."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from graphquant_core.weak_channels import weak_channels
from graphquant_export.quantized.weight_codes import SMALLEST_SCALE
from graphquant_export.targets.mnn import mnn_quantize
from graphquant_wq.settings import LayerSettings

logger = logging.getLogger(__name__)


def warn_of_weak_groups(layer: str, rows: npt.NDArray[np.float32], settings: LayerSettings) -> None:
    """Logs how many groups of `layer` are all zero, and how many have a scale of at most 1e-6.

    Args:
        layer: Name of the layer.
        rows: Its weights before they are quantised, ``[G, n]``, one group a row.
        settings: How they are quantised.
    """
    scale = mnn_quantize(rows, settings.bits, settings.asymmetric).scale
    dead = np.all(rows == 0, axis=1)
    held = np.ptp(rows, axis=1) > 0 if settings.asymmetric else ~dead
    one_value = "its lowest value" if settings.asymmetric else "0"
    fate = f"MNN stores {one_value} for a group whose scale is not above {SMALLEST_SCALE:g}"
    for sentence in weak_channels(dead, held & (scale <= SMALLEST_SCALE), fate):
        logger.warning('layer "%s": %s', layer, sentence)
