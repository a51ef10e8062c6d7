"""Where log lines go after set_logging_level, and that nothing is written before it."""

from __future__ import annotations

import logging
import os
import re
import stat

import pytest

from graphquant_core.exceptions import ConfigError, FileWriteError
from graphquant_qat.log import set_logging_level

LOGGERS = ["graphquant_core", "graphquant_export", "graphquant_qat"]
CORE = logging.getLogger("graphquant_core.plan")
QAT = logging.getLogger("graphquant_qat.save_model")


@pytest.fixture(autouse=True)
def folder(script_folder):
    """Every test here logs."""
    return script_folder


def saved(folder):
    return (folder / "amct_log" / "amct_tensorflow.log").read_text().splitlines()


def test_lines_go_to_stderr_and_to_the_log_file(folder, capsys):
    """Each line once on stderr, without the time, and once in the file, with it."""
    set_logging_level("info", "info")
    QAT.info("The model is saved")
    line = "INFO - [AMCT]:[test_config_log]: The model is saved"
    assert capsys.readouterr() == ("", f"{line}\n")
    (entry,) = saved(folder)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - " + re.escape(line), entry)


@pytest.mark.parametrize(
    ("print_level", "save_level", "printed", "kept"),
    [
        ("debug", "error", ["debug", "info", "warning", "error"], ["error"]),
        ("ERROR", "Debug", ["error"], ["debug", "info", "warning", "error"]),
        ("warning", "info", ["warning", "error"], ["info", "warning", "error"]),
    ],
)
def test_each_side_has_its_own_level(folder, capsys, print_level, save_level, printed, kept):
    """print_level and save_level, in any case, are the lowest levels of stderr and file."""
    set_logging_level(print_level, save_level)
    for level in ("debug", "info", "warning", "error"):
        getattr(CORE, level)(level)
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == printed
    assert [line.split()[-1] for line in saved(folder)] == kept


def test_a_second_call_replaces_the_first(folder, capsys):
    """Called again: the new levels hold, no line comes twice, and the file goes on."""
    set_logging_level("debug", "debug")
    QAT.debug("first")
    capsys.readouterr()
    set_logging_level("info", "warning")
    QAT.debug("never")
    QAT.info("second")
    QAT.warning("third")
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert [line.split()[-1] for line in saved(folder)] == ["first", "third"]


def test_a_handler_of_the_root_logger_prints_nothing_twice(capsys):
    """Lines that set_logging_level prints aren't handed on to the root logger."""
    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    try:
        set_logging_level()
        QAT.warning("once")
    finally:
        logging.getLogger().removeHandler(handler)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_first_call_empties_the_file_of_an_earlier_run(folder):
    """What an earlier process wrote is gone; the folder has mode 750, the file 640."""
    log = folder / "amct_log" / "amct_tensorflow.log"
    set_logging_level()
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o750
    assert stat.S_IMODE(log.stat().st_mode) == 0o640
    for name in LOGGERS:
        for handler in logging.getLogger(name).handlers[:]:
            logging.getLogger(name).removeHandler(handler)
            handler.close()
    log.write_text("of an earlier run\n")
    set_logging_level()
    assert saved(folder) == []


@pytest.mark.parametrize("level", ["verbose", "", 3, None, b"info"])
@pytest.mark.parametrize("argument", ["print_level", "save_level"])
def test_an_unknown_level_is_refused(folder, argument, level):
    """Any other level: ConfigError, a ValueError in AMCT's words, and nothing is written."""
    expected = (
        f"{argument}{{{level!r}}} is invalid, only support ['debug', 'info', 'warning', 'error']"
    )
    with pytest.raises(ConfigError, match=re.escape(expected)):
        set_logging_level(**{argument: level})
    assert list(folder.iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_the_old_handlers(folder, capsys):
    """A file stands where the folder should be: FileWriteError, and lines go where they went."""
    set_logging_level()
    other = folder / "other"
    other.mkdir()
    (other / "amct_log").write_text("")
    os.chdir(other)
    with pytest.raises(FileWriteError, match="log file"):
        set_logging_level("debug", "debug")
    QAT.debug("not yet")
    QAT.info("still here")
    assert [line.split()[-1] for line in saved(folder)] == ["here"]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_pipe_in_place_of_the_file_is_refused(folder):
    """A named pipe, which would block until somebody reads it: FileWriteError."""
    (folder / "amct_log").mkdir()
    os.mkfifo(folder / "amct_log" / "amct_tensorflow.log")
    with pytest.raises(FileWriteError, match="not a regular file"):
        set_logging_level()
