"""ai-edge-quantizer in a virtual environment of its own, which is made when it is first wanted.

It wants other versions than graphquant does, and graphquant doesn't want it at all.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENT = "ai-edge-quantizer==0.10.0"
FOLDER = Path.home() / ".cache" / "graphquant-benchmarks" / REQUIREMENT.replace("==", "-")

_PROGRAM = """
import sys
import numpy as np
from ai_edge_quantizer import quantizer, recipe
name, source, samples, target = sys.argv[1:]
tool = quantizer.Quantizer(source, getattr(recipe, name)())
calibration = None
if tool.need_calibration:
    from ai_edge_litert.interpreter import Interpreter
    signature = Interpreter(model_path=source).get_signature_list()
    ((key, names),) = signature.items()
    # All at once: of single samples it averages the extremes, which changes a third of the answers.
    calibration = tool.calibrate({key: [{names["inputs"][0]: np.load(samples)}]})
tool.quantize(calibration).export_model(target, overwrite=True)
"""


def quantize_in_venv(recipe: str, source: Path, samples: Path, target: Path) -> None:
    """Quantises the .tflite file `source` by the tool's own `recipe`.

    Args:
        recipe: Name of a function of its module ``recipe``.
        source: A float .tflite file with one signature and one input.
        samples: A .npy file of inputs.
        target: The .tflite file to write.
    """
    subprocess.run(
        [str(python()), "-c", _PROGRAM, recipe, str(source), str(samples), str(target)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def python() -> Path:
    """The environment's interpreter."""
    found = FOLDER / "bin" / "python"
    if not (FOLDER / "done").exists():
        venv.create(FOLDER, with_pip=True, clear=True)
        subprocess.run(
            [str(found), "-m", "pip", "install", "--quiet", REQUIREMENT],
            check=True,
            stdout=sys.stderr,
        )
        (FOLDER / "done").touch()
    return found
