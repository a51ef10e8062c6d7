"""Weight strategies: each builds the fake quantisation of one weight."""
