"""The demonstration: a small network on scikit-learn's digits, quantised in two ways."""

from __future__ import annotations
