"""Where graphquant's log lines go: to the screen and to a file, as AMCT's do."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from graphquant_core.exceptions import ConfigError, FileWriteError
from graphquant_core.files import check_writable
from graphquant_core.listing import brief_repr

LOG_FILE = os.path.join("amct_log", "amct_tensorflow.log")
"""Path of the log file, below the current directory."""

_LOGGERS = ("graphquant_core", "graphquant_export", "graphquant_qat")
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_LINE = "%(levelname)s - [AMCT]:[%(module)s]: %(message)s"
_PRINT_HANDLER = "graphquant_qat.print"
_SAVE_HANDLER = "graphquant_qat.save"


def set_logging_level(print_level: str = "info", save_level: str = "info") -> None:
    """Prints lines from `print_level` on to stderr, writes those from `save_level` on to a file.

    Levels are ``debug``, ``info``, ``warning`` and ``error``, in any case. The file is
    ``./amct_log/amct_tensorflow.log``; its folder is made with mode 750 and it with mode 640. The
    first call empties it, a further call changes the levels and goes on in the same file.

    AMCT opens the file when it is imported. Here nothing is written before this call: importing a
    library must not leave files behind, nor fail where the current directory is read-only. Without
    this call the lines go where Python's `logging` sends those of ``graphquant_core``,
    ``graphquant_export`` and ``graphquant_qat``.

    Raises:
        ConfigError: a level isn't one of the four; lists them.
        FileWriteError: the file can't be written; nothing has changed.
    """
    to_print = _level("print_level", print_level)
    to_save = _level("save_level", save_level)
    printer = logging.StreamHandler()
    printer.set_name(_PRINT_HANDLER)
    printer.setLevel(to_print)
    printer.setFormatter(logging.Formatter(_LINE))
    saver = _file_handler()
    saver.set_name(_SAVE_HANDLER)
    saver.setLevel(to_save)
    saver.setFormatter(logging.Formatter(f"%(asctime)s - {_LINE}"))
    for handler in _our_handlers():
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(handler)
        handler.close()
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.addHandler(printer)
        logger.addHandler(saver)
        logger.setLevel(min(to_print, to_save))
        logger.propagate = False  # a handler of the root logger would print each line again


def _level(argument: str, value: object) -> int:
    level = _LEVELS.get(value.lower()) if isinstance(value, str) else None
    if level is None:
        raise ConfigError(
            f"{argument}{{{brief_repr(value)}}} is invalid, only support {list(_LEVELS)}"
        )
    return level


def _our_handlers() -> list[logging.Handler]:
    handlers = logging.getLogger(_LOGGERS[0]).handlers
    return [handler for handler in handlers if handler.name in (_PRINT_HANDLER, _SAVE_HANDLER)]


def _file_handler() -> logging.FileHandler:
    """A handler that goes on in the file that is open already, or else starts it anew."""
    check_writable(LOG_FILE, "log file")
    try:
        path = Path(LOG_FILE).absolute()
        path.parent.mkdir(mode=0o750, exist_ok=True)
        path.touch(mode=0o640)
        open_files = [
            handler.baseFilename
            for handler in _our_handlers()
            if isinstance(handler, logging.FileHandler)
        ]
        mode = "a" if str(path) in open_files else "w"
        return logging.FileHandler(path, mode=mode, encoding="utf-8")
    except OSError as error:
        raise FileWriteError(f'log file ("{LOG_FILE}") cannot be written: {error}') from error
