"""The targets: each turns a frozen graph and its factors into the files that a runtime takes."""

from __future__ import annotations
