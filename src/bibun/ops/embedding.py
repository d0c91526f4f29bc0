"""Table look-ups and the linear layer, with the kernels of their backwards."""
