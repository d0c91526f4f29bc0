"""Einstein summation: its notation, and its plan of products.

In goes an equation (or lists of dimension numbers) and tensors; out comes the sum of products it describes. Operands are
taken together two at a time, each pair as one batched matrix product; dimensions that only one operand has and nobody
asks for are summed first. With three operands or more the pair that costs least goes first.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ..autograd import dispatch
from .products import _bmm, _times, same_dtypes
from .register import METHODS, function
from .shape import _permute, _reshaped, only_tensor

ELLIPSIS = "..."


def _letters(term: str, offset: int) -> list[str]:
    """The subscripts of one operand, an ellipsis among them."""
    found: list[str] = []
    i = 0
    while i < len(term):
        c = term[i]
        if c == " ":
            i += 1
        elif c == ".":
            if term[i : i + 3] != ELLIPSIS:
                raise RuntimeError("einsum(): found '.' in the equation that is not part of any ellipsis ('...')")
            if ELLIPSIS in found:
                raise RuntimeError("einsum(): found '.' in the equation for which an ellipsis was already found")
            found.append(ELLIPSIS)
            i += 3
        elif c.isascii() and c.isalpha():
            found.append(c)
            i += 1
        else:
            raise RuntimeError(
                f"einsum(): invalid subscript given at index {offset + i} in the equation string, subscripts must be in [a-zA-Z]"
            )
    return found


def _parse(equation: str, count: int) -> tuple[list[list[str]], list[str] | None]:
    """(subscripts of each operand, of the output or None)."""
    left, arrow, right = equation.partition("->")
    terms, offset = [], 0
    for term in left.split(","):
        terms.append(_letters(term, offset))
        offset += len(term) + 1
    if len(terms) < count:
        raise RuntimeError("einsum(): more operands were provided than specified in the equation")
    if len(terms) > count:
        raise RuntimeError("einsum(): fewer operands were provided than specified in the equation")
    return terms, (_letters(right, len(left) + 2) if arrow else None)


def _named(numbers: Any) -> list[str]:
    """Subscripts given as dimension numbers and Ellipsis."""
    found = []
    for n in numbers:
        if n is Ellipsis:
            found.append(ELLIPSIS)
        elif not 0 <= n < 52:
            raise RuntimeError(
                f"einsum(): subscripts in subscript list are not within the valid range [0, 52), got {n}"
            )
        else:
            found.append(chr(ord("A") + n) if n < 26 else chr(ord("a") + n - 26))
    return found


def _expanded(
    terms: list[list[str]], operands: list[Any], output: list[str] | None
) -> tuple[list[list[str]], list[str]]:
    """Subscripts with the ellipses spelled out, as ``...0``, ``...1`` counted from the end; and the output's."""
    longest, spelled = 0, []
    for k, (term, x) in enumerate(zip(terms, operands)):
        n = x._a.ndim
        if ELLIPSIS in term:
            extra = n - (len(term) - 1)
            if extra < 0:
                raise RuntimeError(
                    f"einsum(): the number of subscripts in the equation ({len(term) - 1}) is more than the number of dimensions "
                    f"({n}) for operand {k}"
                )
            longest = max(longest, extra)
            at = term.index(ELLIPSIS)
            spelled.append(term[:at] + [f"...{i}" for i in range(extra - 1, -1, -1)] + term[at + 1 :])
        elif len(term) != n:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({len(term)}) does not match the number of dimensions ({n}) "
                f"for operand {k} and no ellipsis was given"
            )
        else:
            spelled.append(term)
    dots = [f"...{i}" for i in range(longest - 1, -1, -1)]
    seen = [s for term in terms for s in term if s != ELLIPSIS]
    if output is None:
        return spelled, dots + [s for s in sorted(set(seen)) if seen.count(s) == 1]
    for s in output:
        if s != ELLIPSIS and output.count(s) > 1:
            raise RuntimeError(f"einsum(): output subscript {s} appears more than once in the output")
        if s != ELLIPSIS and s not in seen:
            raise RuntimeError(f"einsum(): output subscript {s} does not appear in the equation for any input operand")
    if ELLIPSIS in output:
        at = output.index(ELLIPSIS)
        output = output[:at] + dots + output[at + 1 :]
    return spelled, output


def _without_repeats(x: Any, term: list[str], k: int) -> tuple[Any, list[str]]:
    """An operand whose repeated subscripts are taken as diagonals."""
    term = list(term)
    for s in dict.fromkeys(term):
        while term.count(s) > 1:
            i = term.index(s)
            j = term.index(s, i + 1)
            n, m = x._a.shape[i], x._a.shape[j]
            if n != m:
                raise RuntimeError(
                    f"einsum(): subscript {s} is repeated for operand {k} but the sizes don't match, {m} != {n}"
                )
            x = METHODS["diagonal"](x, 0, i, j)
            del term[j], term[i]
            term.append(s)
    return x, term


def _check_sizes(terms: list[list[str]], operands: list[Any]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for k, (term, x) in enumerate(zip(terms, operands)):
        for s, n in zip(term, x._a.shape):
            known = sizes.setdefault(s, n)
            if known == 1:
                sizes[s] = n
            elif n not in (1, known):
                raise RuntimeError(
                    f"einsum(): subscript {s if s[0] != '.' else '...'} has size {n} for operand {k} which does not broadcast with "
                    f"previously seen size {known}"
                )
    return sizes


def _ordered(x: Any, term: list[str], order: list[str]) -> Any:
    """``x`` with its dimensions in the order of the given subscripts."""
    axes = tuple([term.index(s) for s in order])
    return x if axes == tuple(range(len(axes))) else _permute(x, axes)


def _summed(x: Any, term: list[str], gone: list[str]) -> tuple[Any, list[str]]:
    if not gone:
        return x, term
    return METHODS["sum"](x, [term.index(s) for s in gone]), [s for s in term if s not in gone]


def _product(x: Any, a: list[str], y: Any, b: list[str], wanted: set[str]) -> tuple[Any, list[str]]:
    """Two operands as one: the subscripts nobody else wants are summed over."""
    size_x, size_y = dict(zip(a, x._a.shape)), dict(zip(b, y._a.shape))
    # A dimension of size 1 against a larger one is broadcast; summed over, it may as well be dropped.
    x, a = _summed(
        x, a, [s for s in a if s not in wanted and (s not in b or size_y[s] != size_x[s] and size_x[s] == 1)]
    )
    y, b = _summed(
        y, b, [s for s in b if s not in wanted and (s not in a or size_x[s] != size_y[s] and size_y[s] == 1)]
    )
    x, a = _summed(x, a, [s for s in a if s not in wanted and s not in b])
    y, b = _summed(y, b, [s for s in b if s not in wanted and s not in a])
    shared = [s for s in a if s in b]
    batch = [s for s in shared if s in wanted]
    contracted = [s for s in shared if s not in wanted]
    left, right = [s for s in a if s not in b], [s for s in b if s not in a]
    if not contracted:
        term = batch + left + right
        p, q = _ordered(x, a, batch + left), _ordered(y, b, batch + right)
        if left and right:
            p = _reshaped(p, p._a.shape + (1,) * len(right))
            q = _reshaped(q, q._a.shape[: len(batch)] + (1,) * len(left) + q._a.shape[len(batch) :])
        elif left:
            q = _reshaped(q, q._a.shape + (1,) * len(left))
        elif right:
            p = _reshaped(p, p._a.shape + (1,) * len(right))
        return p * q, term
    same_dtypes(x, y)
    p, q = _ordered(x, a, batch + left + contracted), _ordered(y, b, batch + contracted + right)
    ps, qs = p._a.shape, q._a.shape
    nb, nl, nc = len(batch), len(left), len(contracted)
    lead = tuple([max(m, n) if m and n else 0 for m, n in zip(ps[:nb], qs[:nb])])
    rows, inner, columns = ps[nb : nb + nl], ps[nb + nl :], qs[nb + nc :]
    if batch:
        if ps[:nb] != lead:
            p = p.expand((*lead, *ps[nb:]))
        if qs[:nb] != lead:
            q = q.expand((*lead, *qs[nb:]))
        made = _bmm(
            _reshaped(p, (prod(lead), prod(rows), prod(inner))), _reshaped(q, (prod(lead), prod(inner), prod(columns)))
        )
    else:
        made = _times(_reshaped(p, (prod(rows), prod(inner))), _reshaped(q, (prod(inner), prod(columns))))
    return _reshaped(made, (*lead, *rows, *columns)), batch + left + right


def _cheapest(terms: list[list[str]], sizes: dict[str, int]) -> tuple[int, int]:
    """The pair whose product costs least, taken greedily."""
    best, pair = None, (0, 1)
    for i in range(len(terms)):
        for j in range(i + 1, len(terms)):
            cost = prod([sizes[s] for s in {*terms[i], *terms[j]}])
            if best is None or cost < best:
                best, pair = cost, (i, j)
    return pair


@function(method=False, out=False)
def einsum(*args: Any) -> Any:
    """Sums of products in Einstein's notation: subscripts name dimensions, those not asked for are summed over.

    Takes an equation and operands, or operands each followed by a list of dimension numbers. ``...`` stands for dimensions
    that broadcast.

    >>> import bibun as torch
    >>> torch.einsum("ij,j->i", torch.tensor([[1, 2], [3, 4]]), torch.tensor([1, 10]))
    tensor([21, 43])
    """
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand and its subscripts list"
        )
    if isinstance(args[0], dispatch.Tensor):
        operands = list(args[: len(args) // 2 * 2 : 2])
        terms = [_named(n) for n in args[1::2]][: len(operands)]
        output = _named(args[-1]) if len(args) % 2 else None
    else:
        operands = list(args[1:])
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
        terms, output = _parse(args[0], len(operands))
    for k, x in enumerate(operands):
        only_tensor(x, "einsum", "operands", k + 1)
    terms, output = _expanded(terms, operands, output)
    for k, (x, term) in enumerate(zip(operands, terms)):
        operands[k], terms[k] = _without_repeats(x, term, k)
    sizes = _check_sizes(terms, operands)
    for k, (x, term) in enumerate(zip(operands, terms)):
        others = {s for j, t in enumerate(terms) if j != k for s in t}
        operands[k], terms[k] = _summed(x, term, [s for s in term if s not in others and s not in output])
    while len(operands) > 1:
        i, j = _cheapest(terms, sizes) if len(operands) > 2 else (0, 1)
        wanted = set(output).union(*[t for k, t in enumerate(terms) if k not in (i, j)])
        made, term = _product(operands[i], terms[i], operands[j], terms[j], wanted)
        for k in (j, i):
            del operands[k], terms[k]
        operands.insert(i, made)
        terms.insert(i, term)
    made, term = _summed(operands[0], terms[0], [s for s in terms[0] if s not in output])
    out = _ordered(made, term, output)
    return _permute(out, tuple(range(out._a.ndim))) if any(out is a for a in args) else out
