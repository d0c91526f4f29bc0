"""`coverage`: which rules every primitive has, as a table made from the entries themselves.

In: nothing; the entries of all subjects are loaded. Out: the table as text, or as the page that the documentation shows
(`docs/coverage.md`, written by ``python tools/coverage_page.py``).
"""

from __future__ import annotations

import importlib
import pkgutil
import re

from ..ops.indexing import index_add_n, index_get, index_put
from ..ops.primitive import REGISTRY, Primitive

__all__ = ["coverage", "page"]

HEADS = ("primitive", "derivative in", "none in", "forward mode", "batching")


def entries() -> dict[str, list[Primitive]]:
    """The primitives of each file of entries (and of the program's own modules), those of lazy subjects too."""
    package = importlib.import_module("bibun.ops")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    for family in (index_get, index_add_n, index_put):  # for any number of index arrays there is one: 1 stands for all
        family(1)
    found: dict[str, list[Primitive]] = {}
    for prim in REGISTRY.values():
        if not re.fullmatch(r"index_(get|added|put)_([2-9]|\d\d+)", prim.name):
            found.setdefault(prim.run.__globals__.get("__name__", "?"), []).append(prim)
    return dict(sorted(found.items()))


def row(prim: Primitive) -> tuple[str, ...]:
    """(name, inputs with a derivative, inputs and outputs without, forward mode, batching)."""
    given = [name for name, rule in prim.derivatives.items() if not rule.refuses]
    refused = [f"{name} (refused)" for name, rule in prim.derivatives.items() if rule.refuses]
    without = [*refused, *[name for name in (*prim.arrays, *prim.outputs) if name in prim.nondiff]]
    forward = {"derived": "from the derivative", "rule": "rule"}.get(prim.tangent_kind, prim.tangent_kind)
    if prim.name in ("copy_slices", "replay"):
        batching = "view by view"
    elif prim.batch_rule is not None:
        batching = "rule"
    elif prim.family == "elementwise":
        batching = "elementwise"
    else:
        batching = "axes" if prim.batch_axes or prim.batch_shapes else "loop"
    name = re.sub(r"^(index_(?:get|added|put))_1$", r"\1_n", prim.name)
    return name, ", ".join(given) or "-", ", ".join(without) or "-", forward if given else "-", batching


def coverage() -> str:
    """A table of all primitives: the inputs they are differentiable in, what has no derivative, and how forward mode and
    batching come about.

    Derivatives are written in primitives, so every one is differentiable again.
    """
    rows = [HEADS, *[row(prim) for part in entries().values() for prim in part]]
    widths = [max(len(r[i]) for r in rows) for i in range(len(HEADS))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(r, widths)).rstrip() for r in rows)


def page() -> str:
    """The table as a page of the documentation: the library's own primitives, by subject."""
    parts = {name: part for name, part in entries().items() if name.startswith("bibun.")}
    every = [prim for part in parts.values() for prim in part]
    rules = sum(not rule.refuses for prim in every for rule in prim.derivatives.values())
    differentiable = sum(any(not rule.refuses for rule in prim.derivatives.values()) for prim in every)
    lines = [
        "# Coverage",
        "",
        "Every operation is made of these primitives. The table is written by `python tools/coverage_page.py` from the",
        "entries themselves, and a test fails where it is not current; `bibun.autograd.coverage()` prints it.",
        "",
        f"{len(every)} primitives, {differentiable} of them differentiable, by {rules} derivative rules.",
        "",
        "- *none in*: inputs and outputs without a derivative, as in PyTorch (indices and masks, which can have none, are",
        "  left out; *refused* ones raise where a backward comes to them).",
        "- *forward mode*: `elementwise` reuses the derivative, `linear` and `multilinear` primitives are their own",
        "  tangents, `rule` is one of its own, and *from the derivative* is the transpose of the transpose.",
        "- *batching*: how `vmap` runs it; `axes` shifts the axes among its arguments. None runs in a loop.",
        "",
        "`tests/test_coverage.py` holds each of them to central differences, forward mode to reverse mode, the second",
        "derivative to differences of the first and to forward over reverse, vmap to a loop and strided arrays to",
        "contiguous ones, with complex numbers where there are such. `tests/test_falsified_rules.py` falsifies every rule",
        "and leaves terms out of it, and has these checks notice.",
    ]
    for name, part in parts.items():
        lines += ["", f"## {name.removeprefix('bibun.')}", "", "| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
        lines += ["| `" + "` | ".join([cells[0], " | ".join(cells[1:])]) + " |" for cells in map(row, part)]
    return "\n".join(lines) + "\n"
