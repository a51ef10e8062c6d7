"""The graph side of weight quantisation: inserting, starting, pruning and stripping."""
