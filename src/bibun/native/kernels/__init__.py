"""Kernels for large arrays, one file for each subject; wrappers take ndarrays and return new ones."""
