"""The checks of `test_coverage` are tested: every rule is falsified, and some check must notice.

Each derivative and each tangent rule has its result negated (or, where that is zero, shifted), doubled and replaced by
zeros; and in each function that a rule is made of, every sum or difference loses a term (those of batching rules too). By
default each rule is falsified once, which way by its name, and each sum loses its right term; ``BIBUN_SWEEP=1`` tries all
ways, and has sums lose their left term and products their right factor.
"""

import ast
import functools
import os
import types
import zlib
from pathlib import Path

import pytest
import test_coverage as coverage

from bibun.autograd.node import Node
from bibun.ops.primitive import REGISTRY, Primitive, Rule

SWEEP = bool(os.environ.get("BIBUN_SWEEP"))
ENTRIES = coverage.ENTRIES


# Whether the checks notice


def noticed(name, kind):
    """Whether a check of an entry fails, of those that ``kind`` is for: an input, "tangent" or "batching"."""
    for recipe, complex, case in coverage.cases_of(name):
        whats = ("dual",) if kind == "tangent" else ("difference", "dual", "second")
        if kind == "batching":
            whats = ("batch",)
        elif not case.outputs or kind not in ("tangent", *[case.names[i] for i in case.inputs]):
            continue
        for what in whats:
            if what in case.sample.without:
                continue
            try:
                if what == "batch":
                    coverage.check_batch(coverage.batch_of(name, recipe, complex, case))
                else:
                    coverage.CHECKS[what](case)
            except Exception:
                return True
    return False


@functools.cache
def right_as_it_is(name):
    """No check of an entry fails; calls that keep what they were made with are now made with the right rules."""
    assert not noticed(name, "tangent") and not any(noticed(name, kind) for kind in ENTRIES[name].derivatives)
    return True


def forget(prim):
    """Have plans made again, of the primitive and of what shares its rules under another name."""
    for cls in Node.__subclasses__():
        if cls.primitive is not None and cls.primitive.derivatives is prim.derivatives:
            cls.plans.clear()


# Falsified results


def each(change, result):
    """``change`` of a rule's result, or of each of its results."""
    if isinstance(result, (list, tuple)):
        return type(result)([each(change, r) for r in result])
    if result is None or getattr(result.dtype, "np", result.dtype).kind not in "fc":
        return result
    return change(result)


FALSE = {
    "negated": lambda r: -r,
    "doubled": lambda r: r * 2,
    "zero": lambda r: r * 0,
    "shifted": lambda r: r + 1,
}


def falsified(rule, change, seen):
    """The rule with a changed result; ``seen`` gets True when the result was not zero."""

    def call(xp, *values):
        made = rule.call(xp, *values)
        for r in made if isinstance(made, (list, tuple)) else (made,):
            a = getattr(r, "_a", r)
            while a is not None and not seen and getattr(r, "value", None) is not None:  # what a transform wraps
                r = r.value
                a = r._a
            if a is not None and not seen and a.dtype.kind in "fc" and a.any():
                seen.append(True)
        return each(change, made)

    other = object.__new__(Rule)
    other.needs, other.takes_xp, other.refuses = rule.needs, True, False
    other.call = other.plain = call
    return other


RULES = [
    (name, kind)
    for name, prim in ENTRIES.items()
    for kind in [
        *[k for k, rule in prim.derivatives.items() if not rule.refuses],
        *(["tangent"] if prim.tangent_rule else []),
    ]
]


@pytest.mark.parametrize("name, kind", RULES, ids=[f"{n}-{k}" for n, k in RULES])
def test_a_falsified_rule_is_noticed(name, kind):
    prim = ENTRIES[name]
    right = prim.tangent_rule if kind == "tangent" else prim.derivatives[kind]
    assert right_as_it_is(name)
    ways = ["negated", "doubled", "zero"]
    if not SWEEP:
        ways = ways[zlib.crc32(f"{name} {kind}".encode()) % 3 :][:1]
    try:
        for way in ways:
            if not survives(prim, name, kind, right, way):
                continue
            assert not survives.nonzero, f"the rule of {name} in {kind}, {way}, passes all checks"
            assert not survives(prim, name, kind, right, "shifted"), f"the rule of {name} in {kind} may be anything"
    finally:
        put(prim, kind, right)


def put(prim, kind, rule):
    if kind == "tangent":
        prim.tangent_rule = rule
    else:
        prim.derivatives[kind] = rule
    forget(prim)


def survives(prim, name, kind, right, way):
    """Whether no check notices; ``survives.nonzero`` then says whether the rule ever gave anything but zeros."""
    seen = []
    put(prim, kind, falsified(right, FALSE[way], seen))
    found = noticed(name, kind)
    survives.nonzero = bool(seen)
    return not found


# Dropped terms


@functools.cache
def tree_of(path):
    return ast.parse(Path(path).read_text())


def in_rules(function):
    return isinstance(function, types.FunctionType) and function.__globals__["__name__"].startswith("bibun.ops.")


def reached(function, found):
    """The functions of the entries' files that a rule is made of, itself among them."""
    if function in found:
        return
    found.add(function)
    names = set()
    codes = [function.__code__]
    for code in codes:
        names |= set(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    held = [function.__globals__[n] for n in names if n in function.__globals__]
    held += [cell.cell_contents for cell in function.__closure__ or ()]
    held += [REGISTRY[n] for n in names if n in REGISTRY and n.endswith("_gradient")]  # the kernels of backwards
    for other in held:
        if isinstance(other, Primitive) and other.name.endswith("_gradient"):
            other = other.run
        if in_rules(other):
            reached(other, found)


def node_of(function):
    """The part of the source's syntax tree that a function was compiled from."""
    code = function.__code__
    if not os.path.exists(code.co_filename):
        return None
    lines = [(p[0], p[2]) for p in code.co_positions() if p[0] and p[2] is not None and p[0] > 0]
    for node in ast.walk(tree_of(code.co_filename)):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name and code.co_name != "<lambda>":
            if node.lineno == code.co_firstlineno or any(d.lineno == code.co_firstlineno for d in node.decorator_list):
                return node
        elif isinstance(node, ast.Lambda) and code.co_name == "<lambda>":
            names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
            if node.lineno == code.co_firstlineno and names == list(code.co_varnames[: code.co_argcount]):
                body = node.body
                start, end = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
                if any(start <= at <= end for at in lines):
                    return node
    return None


class Drop(ast.NodeTransformer):
    """Leaves out the right or the left term of the n-th sum or difference, or the right factor of the n-th product."""

    def __init__(self, n, way):
        self.n, self.left, self.what = n, way == "left", None
        self.kinds = (ast.Mult, ast.Div) if way == "factor" else (ast.Add, ast.Sub)

    def visit_BinOp(self, node):
        if isinstance(node.op, self.kinds):
            self.n -= 1
            if self.n == -1:
                self.what = ast.unparse(node)
                if not self.left:
                    return node.left
                return node.right if isinstance(node.op, ast.Add) else ast.UnaryOp(ast.USub(), node.right)
        self.generic_visit(node)
        return node


def dropped(function, n, way):
    """(code of the function without that term, what the sum was), or None."""
    node = node_of(function)
    if node is None:
        return None
    drop = Drop(n, way)
    changed = drop.visit(ast.parse(ast.unparse(bare(node))).body[0])
    if drop.what is None:
        return None
    free = function.__code__.co_freevars
    inner = [changed] if isinstance(changed, ast.FunctionDef) else [changed]
    factory = ast.parse(f"def factory({', '.join(free)}):\n    pass")
    factory.body[0].body = inner
    made = compile(ast.fix_missing_locations(factory), "falsified", "exec")
    for code in made.co_consts:
        if isinstance(code, types.CodeType):
            for found in code.co_consts:
                if isinstance(found, types.CodeType) and found.co_name == function.__code__.co_name:
                    return (found, drop.what) if found.co_freevars == free else None
    return None


def bare(node):
    """The function without its annotations, decorators and description."""
    if isinstance(node, ast.Lambda):
        return node
    made = ast.parse(ast.unparse(node)).body[0]
    made.decorator_list, made.returns = [], None
    for a in (*made.args.posonlyargs, *made.args.args):
        a.annotation = None
    if ast.get_docstring(made) is not None:
        made.body = made.body[1:] or [ast.Pass()]
    return made


@functools.cache
def functions():
    """{code: (functions of that code, {(entry, input, "tangent" or "batching"): None})} of all that rules are made of."""
    made = {}
    for name, prim in ENTRIES.items():
        rules = [(kind, rule.plain) for kind, rule in prim.derivatives.items() if not rule.refuses]
        rules += [("tangent", prim.tangent_rule.plain)] if prim.tangent_rule else []
        rules += [("batching", prim.batch_rule)] if prim.batch_rule else []
        for kind, rule in rules:
            found = set()
            reached(rule, found)
            for function in found:
                members, users = made.setdefault(function.__code__, ({}, {}))
                members[function] = users[name, kind] = None
    return made


def label(function):
    module = function.__globals__["__name__"].rpartition(".")[2]
    return f"{module}.{function.__name__}:{function.__code__.co_firstlineno}"


def terms():
    """[(function, number of its sum or product, what goes)]."""
    made = []
    for members, _ in functions().values():
        function = next(iter(members))
        node = node_of(function)
        if node is None:
            continue
        for way in ("right", "left", "factor") if SWEEP else ("right",):
            kinds = (ast.Mult, ast.Div) if way == "factor" else (ast.Add, ast.Sub)
            n = sum(isinstance(x, ast.BinOp) and isinstance(x.op, kinds) for x in ast.walk(node))
            made += [(function, k, way) for k in range(n)]
    return sorted(made, key=lambda t: (label(t[0]), t[1:]))


TERMS = terms()
#: (function, sum) -> why nothing changes without the term.
EQUIVALENT = {
    ("_as_strided_batched", "own[:d] + own[d + 1:]"): "the way through a copy gives the same",
    ("_as_strided_batched", "arrays[0].shape[:d] + arrays[0].shape[d + 1:]"): "the way through a copy gives the same",
    ("_as_strided_batched", "d + 1"): "the way through a copy gives the same",
    (
        "_eigh_some_back",
        "span - x + xp.matmul(v * _row(xp, eigenvalues), vh)",
    ): "nothing lies in the span: it keeps the system regular, also where an eigenvalue is 1",
    ("_put_n_batched", "len(lined) + 1"): "the primitive for one index array more was made before",
    ("_masked_scatter_batched", "source.shape[1] - 1"): "a bound that valid calls do not reach",
    ("_restride_batched", "n - 1"): "more memory than is used",
    ("_restride_batched", "max(high, 0) + 1 + max(-offset, 0)"): "more memory than is used",
}


@pytest.mark.parametrize("function, n, way", TERMS, ids=[f"{label(f)}-{n}-{way}" for f, n, way in TERMS])
def test_a_dropped_term_is_noticed(function, n, way, monkeypatch):
    found = dropped(function, n, way)
    if found is None:
        pytest.skip("it is the only use of a name from around the function")
    if (function.__name__, found[1]) in EQUIVALENT:
        pytest.skip(EQUIVALENT[function.__name__, found[1]])
    monkeypatch.setattr(coverage.batching, "batch_by_loop", coverage.refuse_loop)
    right = function.__code__
    members, users = functions()[right]
    for name, kind in users:  # what is compared with is made while all is right
        for recipe, complex, case in coverage.cases_of(name):
            if kind == "batching" and "batch" not in case.sample.without:
                coverage.batch_of(name, recipe, complex, case)
    try:
        for member in members:
            member.__code__ = found[0]
        known = any(noticed(*user) for user in users)
    finally:
        for member in members:
            member.__code__ = right
    assert known, f"with the {way} part of {found[1]} left out, all checks pass"
