"""What the exit code of `graphquant` says."""

from __future__ import annotations

CHECK_FAILED = 1
"""A check was made, and what it looks for isn't so."""
ERROR = 2
"""The command line was wrong, or the command could not do its work."""
UNEXPECTED = 3
"""A defect of graphquant or of a plugin."""

EXPLANATION = """\
Exit codes: 0 all is well; 1 a check found something (verify, tune, diff, check); 2 wrong usage, or
an error that says what to do; 3 an unexpected error, a defect. --debug before the command prints
errors with their traceback.
"""
