"""bibun's own version: the one place it is written; the build and `bibun.version` read it here."""

__version__ = "0.1.0"
