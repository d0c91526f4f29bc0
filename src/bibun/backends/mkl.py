"""``torch.backends.mkl``: Intel's MKL is not used: NumPy brings its own BLAS."""


def is_available() -> bool:
    return False
