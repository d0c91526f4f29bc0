"""`ExponentialFamily`: distributions whose density is an exponential of a product of parameters and statistics."""

from .distribution import Distribution

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """The common base; each distribution states its own entropy."""
