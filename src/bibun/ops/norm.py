"""Normalisation by mean and variance over chosen axes, and the kernels of its backward."""
