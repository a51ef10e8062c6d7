"""The nearest known names, for error messages about an unknown name."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Mapping
from itertools import islice

from graphquant_core.listing import either, short

_LONGEST_NAME = 160
_MOST_NAMES = 100_000
_SHORTLIST = 100


def closest(name: str, known: Iterable[str], n: int = 3) -> str:
    """``'; did you mean "conv1/Conv2D"?'``: up to `n` known names like `name`, or ``''``.

    Where no name is like it, names that have such a part between slashes: an op of a Keras layer
    that is called so. The comparison ignores case. Its time is bounded: only the first 160
    characters of a name and the first 100,000 known names count, and only the 100 that share most
    letter triples with `name` are compared in full.
    """
    wanted = name[:_LONGEST_NAME].casefold()
    names: dict[str, str] = {}
    parts: dict[str, str] = {}
    for candidate in islice(known, _MOST_NAMES):
        folded = candidate[:_LONGEST_NAME].casefold()
        names.setdefault(folded, candidate)
        for part in filter(None, folded.split("/")):
            parts.setdefault(part, candidate)
    found = _nearest(wanted, names, n) or _nearest(wanted, parts, n)
    quoted = [f'"{short(candidate)}"' for candidate in dict.fromkeys(found)]
    return f"; did you mean {either(quoted)}?" if quoted else ""


def _nearest(wanted: str, candidates: Mapping[str, str], n: int) -> list[str]:
    """The values of up to `n` keys like `wanted`, the nearest first."""
    keys = list(candidates)
    if len(keys) > _SHORTLIST:
        triples = _letter_triples(wanted)
        keys = heapq.nlargest(_SHORTLIST, keys, key=lambda key: _overlap(triples, key))
    return [candidates[key] for key in difflib.get_close_matches(wanted, keys, n)]


def _letter_triples(text: str) -> set[str]:
    padded = f" {text} "
    return {padded[start : start + 3] for start in range(len(padded) - 2)}


def _overlap(triples: set[str], text: str) -> float:
    """Jaccard index of two sets of letter triples, in [0, 1]."""
    others = _letter_triples(text)
    return len(triples & others) / max(len(triples | others), 1)
