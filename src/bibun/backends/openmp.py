"""``torch.backends.openmp``: OpenMP is not used."""


def is_available() -> bool:
    return False
