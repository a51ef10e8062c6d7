"""The commands that the README and the page of graphquant-cli show are run as they stand."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from graphquant_cli.main import build_app
from graphquant_core.registry import build_registry

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    "README": README.partition("## From the command line\n")[2].partition("\n## ")[0],
    "graphquant-cli": (ROOT / "packages" / "cli" / "README.md").read_text(encoding="utf-8"),
}

# Runs scripts, and commands as the console script runs them, in one process: [exit code, printed].
RUN = """
import contextlib, io, json, sys
from graphquant_cli.main import main
done = []
for kind, content in json.load(sys.stdin):
    out, code = io.StringIO(), 0
    with contextlib.redirect_stdout(out):
        if kind == "python":
            exec(compile(content, "example", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = content
            try:
                main()
            except SystemExit as stopped:
                code = stopped.code or 0
    done.append([code, out.getvalue()])
print(json.dumps(done))
"""


def steps(page: str) -> list[tuple[str, str | list[str], list[str]]]:
    """(kind, script or arguments, lines that it prints), in the order of the page."""
    found: list[tuple[str, str | list[str], list[str]]] = []
    for kind, content in BLOCK.findall(page):
        if kind == "python":
            found.append((kind, content, []))
            continue
        for line in content.splitlines():
            if line.startswith("$ "):
                found.append((kind, shlex.split(line.removeprefix("$ ")), []))
            else:
                found[-1][2].append(line)
    return found


def matches(printed: str, expected: list[str]) -> bool:
    """Whether `printed` is `expected`, where ``...`` stands for any lines.

    The rules of tables, empty lines and the widths of gaps don't count.
    """

    def plain(lines: list[str]) -> list[str]:
        words = (" ".join(line.split()) for line in lines)
        return [line for line in words if line.strip("─ ")]

    pattern = "".join(
        r"(?:.*\n)*" if line == "..." else re.escape(f"{line}\n") for line in plain(expected)
    )
    return bool(re.fullmatch(pattern, "".join(f"{line}\n" for line in plain(printed.splitlines()))))


@pytest.mark.parametrize("name", PAGES)
def test_each_command_prints_what_the_page_says(tmp_path: Path, name: str) -> None:
    """The blocks of a page, run in order in an empty folder, print what the page shows."""
    wanted = steps(PAGES[name])
    assert {kind for kind, _, _ in wanted} == {"python", "console"}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        input=json.dumps([(kind, content) for kind, content, _ in wanted]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    for (_, content, expected), (code, printed) in zip(wanted, results, strict=True):
        assert code == 0, (content, done.stderr)
        assert matches(printed, expected), (content, printed)


def test_the_page_of_the_command_line_lists_every_command() -> None:
    """The table names each built-in command that --help lists."""
    names = set(get_command(build_app(build_registry([]))).commands)
    assert names == set(re.findall(r"^\| `graphquant (\w+)", PAGES["graphquant-cli"], re.MULTILINE))
