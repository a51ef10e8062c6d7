"""Conditions of which it is known before the model runs which branch is taken."""
