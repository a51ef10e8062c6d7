"""The wq plugin."""

from __future__ import annotations

import subprocess
import sys


def test_reading_the_registry_does_not_import_tensorflow() -> None:
    """The strategies are registered without TensorFlow, which costs seconds to import."""
    program = (
        "import sys; from graphquant_core import load_registry; "
        "load_registry().weight_quantizer('max_abs'); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
