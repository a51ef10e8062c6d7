"""`graphquant demo`: the whole journey on a small data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphquant_cli.help_text import examples
from graphquant_cli.optional_packages import need
from graphquant_cli.options import JsonOption
from graphquant_cli.output import print_json, print_table
from graphquant_cli.progress import progress_bar
from graphquant_cli.tensorflow_import import compute_alike_everywhere

EPILOG = examples("demo", "demo --epochs 60 --folder out")


def demo(
    folder: Annotated[Path, typer.Option(help="Where the files go.")] = Path("graphquant_demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of float training.")] = 30,
    as_json: JsonOption = False,
) -> None:
    """Train a small network on digits, quantise it after and while training, and run the results.

    Needs scikit-learn: pip install "graphquant-cli[demo]".
    """
    from graphquant_cli.demo.digits import load_digits
    from graphquant_core.files import check_writable

    need("graphquant_qat", "demo")
    check_writable(folder / "config.json", "--folder")
    digits = load_digits()
    compute_alike_everywhere()
    from graphquant_cli.demo.journey import HEADER, run_journey
    from graphquant_export.inputs.quiet import quiet_tensorflow

    folder.mkdir(parents=True, exist_ok=True)
    with quiet_tensorflow(), progress_bar("training") as progress:
        results = run_journey(digits, folder, epochs, progress)
    if as_json:
        print_json([result.to_dict() for result in results])
    else:
        print_table(HEADER, (result.cells() for result in results))
