"""Running the command line inside the test process."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from graphquant_cli.main import main


@attrs.frozen
class Outcome:
    """What a run of `graphquant` left behind."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def graphquant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """`graphquant(*arguments)` runs the console script's function as a shell would."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["graphquant", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        written = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), written.out, written.err)

    return run
