"""Ops that a converter lacks, in ops that it has: one mechanism, and one rule in each module."""

from __future__ import annotations

from graphquant_export.rewriting.apply_rules import rewrite
from graphquant_export.rewriting.rule import Rule
from graphquant_export.rewriting.site import Site

__all__ = ["Rule", "Site", "rewrite"]
