"""The examples of the README and of the pages in docs are run as they stand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A fenced block with its language, and whatever text stands before it.
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUN = """
import contextlib, io, json, sys
printed, names = [], {"__name__": "__main__"}
for number, script in enumerate(json.load(sys.stdin)):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(script, f"example {number}", "exec"), names)
    printed.append(out.getvalue())
print(json.dumps(printed))
"""


def examples(text: str) -> list[tuple[str, str]]:
    """(script, output) of each Python block; the output is the plain block right behind it."""
    blocks = [*BLOCK.findall(text), ("end", "")]
    return [
        (body, after if language == "" else "")
        for (kind, body), (language, after) in pairwise(blocks)
        if kind == "python"
    ]


def sections() -> dict[str, list[tuple[str, str]]]:
    """The examples that belong together: a section of the README, or a whole page of docs."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    parts = {f"README: {part.splitlines()[0]}": part for part in readme.split("\n## ")[1:]}
    pages = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md")}
    found = {name: examples(text) for name, text in sorted({**parts, **pages}.items())}
    return {name: scripts for name, scripts in found.items() if any(out for _, out in scripts)}


SECTIONS = sections()


@pytest.mark.parametrize("name", SECTIONS)
def test_an_example_prints_what_the_page_says(tmp_path: Path, name: str) -> None:
    """The scripts of a page, run in order in an empty folder, print what the page shows."""
    scripts, expected = zip(*SECTIONS[name], strict=True)
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        input=json.dumps(scripts),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == list(expected)


def test_the_readmes_examples_are_found() -> None:
    """Every example that states an output is among those that are run."""
    assert {"README: A definitive example", "README: Weight-only for MNN"} <= SECTIONS.keys()
