"""``torch.backends.opt_einsum``: the opt_einsum package is not used; contractions go in the order given."""

from typing import Any

enabled = False
strategy: str | None = None


def is_available() -> bool:
    return False


def get_opt_einsum() -> Any:
    return None
