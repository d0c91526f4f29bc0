"""Losses: how far an input is from a target, reduced to a number, and the kernels of their backwards."""
