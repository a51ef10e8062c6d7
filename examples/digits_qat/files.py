"""Where the example puts its files."""

from __future__ import annotations

import os
from typing import NamedTuple


class Files(NamedTuple):
    """Paths, all of them in one folder."""

    float_checkpoint: str
    float_frozen: str
    config: str
    record: str
    retrained_checkpoint: str
    retrained_frozen: str
    save_path: str
    quantized: str
    report: str

    @classmethod
    def below(cls, folder: str) -> Files:
        """Paths in `folder`, which is made when it is missing."""
        os.makedirs(folder, exist_ok=True)
        names = {
            "float_checkpoint": "float.ckpt",
            "float_frozen": "float.pb",
            "config": "config.json",
            "record": "record.txt",
            "retrained_checkpoint": "retrained.ckpt",
            "retrained_frozen": "retrained.pb",
            "save_path": "digits",
            "quantized": "digits_quantized.pb",
            "report": "report.html",
        }
        return cls(**{field: os.path.join(folder, name) for field, name in names.items()})
