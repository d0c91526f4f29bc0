"""Schemas: what an operator takes and gives, read from a function's annotations or from PyTorch's notation.

In: a function, or text such as ``scale(Tensor x, *, float s=2.0) -> Tensor``. Out: a `Schema`, which binds calls,
checks their arguments and prints itself as PyTorch does.
"""

from __future__ import annotations

import collections.abc
import inspect
import re
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from .. import dtypes
from ..tensor import Tensor

__all__ = ["Argument", "Schema", "infer_schema", "parse"]

UNGIVEN = inspect.Parameter.empty

#: Annotations and the names of their types: a scalar annotation, then what a sequence of it is called.
SCALARS: dict[Any, str] = {
    Tensor: "Tensor", int: "SymInt", float: "float", bool: "bool", str: "str", complex: "complex",
    dtypes.dtype: "ScalarType", dtypes.device: "Device",
}
SEQUENCES = {"Tensor": "Tensor[]", "Tensor?": "Tensor?[]", "SymInt": "SymInt[]", "float": "float[]", "bool": "bool[]", "Scalar": "Scalar[]"}


@dataclass
class Argument:
    """One argument of a schema."""

    name: str
    type: str
    default_value: Any = UNGIVEN
    kwarg_only: bool = False
    is_write: bool = False
    #: The type as the schema writes it, with its mark of writing.
    written: str = ""

    def __str__(self) -> str:
        return f"{self.written or self.type} {self.name}" + ("" if self.default_value is UNGIVEN else f"={shown(self.default_value)}")


def shown(value: Any) -> str:
    """A default as PyTorch prints it."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:g}" + ("." if value == int(value) and "e" not in f"{value:g}" else "") if abs(value) < float("inf") else str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(shown, value)) + "]"
    return str(value)


@dataclass
class Schema:
    """What an operator takes and gives."""

    name: str
    overload_name: str
    arguments: list[Argument]
    returns: list[str] = field(default_factory=list)
    #: Whether what comes out is a tuple: several results, or the notation says so.
    several: bool = False

    def __str__(self) -> str:
        parts: list[str] = []
        for a in self.arguments:
            if a.kwarg_only and "*" not in parts:
                parts.append("*")
            parts.append(str(a))
        out = self.returns[0] if len(self.returns) == 1 and not self.several else "(" + ", ".join(self.returns) + ")"
        return f"{self.name}{'.' + self.overload_name if self.overload_name else ''}({', '.join(parts)}) -> {out}"

    __repr__ = __str__

    @property
    def is_mutable(self) -> bool:
        """Whether the operator writes to an argument."""
        return any(a.is_write for a in self.arguments)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(values of the positional arguments, those of the keyword-only ones), checked, defaults filled in."""
        positional = [a for a in self.arguments if not a.kwarg_only]
        if len(args) > len(positional):
            if len(positional) < len(self.arguments):
                raise RuntimeError(f"{self.name}() takes {len(positional)} positional argument(s) but {len(args)} was/were given.  Declaration: {self}")
            raise RuntimeError(f"{self.name}() expected at most {len(positional)} argument(s) but received {len(args)} argument(s). Declaration: {self}")
        left = dict(kwargs)
        values: list[Any] = []
        named: dict[str, Any] = {}
        for i, a in enumerate(self.arguments):
            if i < len(args) and not a.kwarg_only:
                if a.name in left:
                    raise RuntimeError(f"{self.name}() got multiple values for argument '{a.name}'. Declaration: {self}")
                value = args[i]
            elif a.name in left:
                value = left.pop(a.name)
            elif a.default_value is not UNGIVEN:
                value = a.default_value
            else:
                raise RuntimeError(f"{self.name}() is missing value for argument '{a.name}'. Declaration: {self}")
            value = self._cast(a, value, i)
            if a.kwarg_only:
                named[a.name] = value
            else:
                values.append(value)
        if left:
            raise RuntimeError(f"Unknown keyword argument '{next(iter(left))}' for operator '{self.name}'. Schema: {self}")
        return tuple(values), named

    def _cast(self, a: Argument, value: Any, position: int) -> Any:
        if fits(a.type, value):
            return float(value) if a.type == "float" and not isinstance(value, Tensor) else list(value) if isinstance(value, tuple) else value
        wanted = PYTHON_NAMES.get(a.type, a.type)
        raise RuntimeError(
            f"{self.name}() Expected a value of type '{wanted}' for argument '{a.name}' but instead found type '{type(value).__name__}'.\n"
            f"Position: {position}\nValue: {value!r}\nDeclaration: {self}\nCast error details: Unable to cast {value!r} to {wanted}"
        )


PYTHON_NAMES = {
    "SymInt": "int", "Tensor[]": "List[Tensor]", "SymInt[]": "List[int]", "int[]": "List[int]", "float[]": "List[float]", "bool[]": "List[bool]",
    "Tensor?": "Optional[Tensor]", "Scalar": "number", "Tensor?[]": "List[Optional[Tensor]]", "ScalarType": "int", "SymInt?": "Optional[int]",
    "int?": "Optional[int]", "float?": "Optional[float]", "bool?": "Optional[bool]", "str?": "Optional[str]",
}


def whole(value: Any) -> bool:
    return not isinstance(value, (bool, float, complex, str)) and hasattr(value, "__index__") and not isinstance(value, Tensor)


CHECKS: dict[str, Any] = {
    "Tensor": lambda v: isinstance(v, Tensor),
    "int": whole,
    "SymInt": whole,
    "float": lambda v: isinstance(v, float) or whole(v),
    "bool": lambda v: isinstance(v, bool),
    "str": lambda v: isinstance(v, str),
    "complex": lambda v: isinstance(v, (complex, float)) or whole(v),
    "Scalar": lambda v: isinstance(v, (bool, int, float, complex)) or isinstance(v, Tensor) and not v.ndim,
    "ScalarType": lambda v: isinstance(v, dtypes.dtype),
    "Device": lambda v: isinstance(v, (dtypes.device, str)),
}


def fits(type_: str, value: Any) -> bool:
    """Whether a value can be given for an argument of the type."""
    if type_.endswith("?"):
        return value is None or fits(type_[:-1], value)
    match = re.fullmatch(r"(.+)\[\d*\]", type_)
    if match:
        return isinstance(value, (list, tuple)) and all(fits(match[1], v) for v in value)
    check = CHECKS.get(type_)
    return True if check is None else bool(check(value))


# from annotations


def named(annotation: Any) -> str | None:
    """The name of an annotation's type; None where schemas have none for it."""
    if annotation in SCALARS:
        return SCALARS[annotation]
    origin, of = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        if set(of) == {int, float, bool}:
            return "Scalar"
        inner = [a for a in of if a is not type(None)]
        if len(inner) == len(of) - 1:
            found = "Scalar" if set(inner) == {int, float, bool} else named(inner[0]) if len(inner) == 1 else None
            return None if found is None or found.endswith("?") else found + "?"
        return None
    if origin in (list, collections.abc.Sequence) and len(of) == 1:
        return SEQUENCES.get(named(of[0]) or "")
    return None


RETURNS = {"Tensor", "Tensor[]", "SymInt", "float", "bool", "Scalar"}


def infer_schema(function: Any, /, *, mutates_args: Any, op_name: str | None = None) -> str:
    """The schema of a function with annotations, in PyTorch's notation.

    >>> import bibun as torch
    >>> def scaled(x: torch.Tensor, by: float = 2.0) -> torch.Tensor:
    ...     return x * by
    >>> torch.library.infer_schema(scaled, mutates_args=())
    '(Tensor x, float by=2.0) -> Tensor'
    """
    signature = inspect.signature(function)

    def fail(what: str) -> typing.NoReturn:
        raise ValueError(f"infer_schema(func): {what} Got func with signature {signature})")

    try:
        hints = typing.get_type_hints(function)
    except Exception as error:
        fail(f"Unsupported type annotation, which cannot be resolved: {error}.")
    parts: list[str] = []
    seen: set[str] = set()
    starred = False
    for i, (name, p) in enumerate(signature.parameters.items()):
        if p.kind not in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            fail("We do not support positional-only args, varargs, or varkwargs.")
        if p.kind is p.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        if p.annotation is p.empty:
            fail(f"Parameter {name} must have a type annotation.")
        kind = named(hints[name])
        if kind is None:
            fail(f"Parameter {name} has unsupported type {p.annotation if not isinstance(p.annotation, str) else hints[name]}. The valid types are: "
                 f"Tensor, int, float, bool, str, complex, dtype, device, sequences of the first four, unions of int, float and bool, and None with each.")
        if mutates_args == "unknown" and kind.startswith("Tensor") or mutates_args != "unknown" and name in mutates_args:
            if not kind.startswith("Tensor"):
                fail(f"Parameter {name} is in mutable_args but only Tensors or collections of Tensors can be mutated")
            kind = f"Tensor(a{i}!){kind[6:]}"
        seen.add(name)
        if p.default is p.empty:
            parts.append(f"{kind} {name}")
        else:
            if p.default is not None and not isinstance(p.default, (int, float, bool, str, dtypes.dtype)):
                fail(f"Parameter {name} has an unsupported default value type {type(p.default)}. Please file an issue on GitHub so we can prioritize this.")
            default = p.default
            parts.append(f"{kind} {name}={str(default).removeprefix('torch.') if isinstance(default, dtypes.dtype) else shown(default) if isinstance(default, str) else default}")
    if mutates_args != "unknown" and set(mutates_args) - seen:
        fail(f"{set(mutates_args) - seen} in mutates_args were not found in the custom op's signature. mutates_args should contain the names of all args "
             "that the custom op mutates, or just the string 'unknown' if you don't know.")
    if signature.return_annotation is signature.empty:
        fail("No return type annotation was provided. Please add one.")
    gives = hints.get("return")
    if gives is None or gives is type(None):
        out = "()"
    elif typing.get_origin(gives) is tuple:
        names = [named(a) for a in typing.get_args(gives)]
        if not RETURNS.issuperset(names):
            fail(f"Return has unsupported type {gives}. The valid types are: {RETURNS_SHOWN}.")
        out = "(" + ", ".join(str(n) for n in names) + ")"
    else:
        found = named(gives)
        if found not in RETURNS:
            fail(f"Return has unsupported type {gives}. The valid types are: {RETURNS_SHOWN}.")
        out = str(found)
    return f"{op_name or ''}({', '.join(parts)}) -> {out}"


RETURNS_SHOWN = "Tensor, a list of Tensors, int, float, bool, a union of these three, and tuples of all these"


# from notation

TYPE = re.compile(r"\s*([A-Za-z_]\w*)(\([^)]*\))?((?:\?|\[\d*\])*)")


def parse(text: str) -> Schema:
    """The `Schema` that a text in PyTorch's notation stands for."""
    match = re.match(r"\s*([\w:]+)(?:\.(\w+))?\s*\(", text)
    if not match:
        raise RuntimeError(f"expected an operator's name and its arguments in parentheses here:\n{text}\n^ <--- HERE")
    at = match.end()
    arguments: list[Argument] = []
    only = False

    def fail(what: str) -> typing.NoReturn:
        raise RuntimeError(f"expected {what} but found {text[at:at + 1] or 'the end'!r} here:\n{text}\n{' ' * at}~ <--- HERE")

    def skip() -> None:
        nonlocal at
        while at < len(text) and text[at].isspace():
            at += 1

    def type_() -> tuple[str, str, bool]:
        nonlocal at
        found = TYPE.match(text, at)
        if not found:
            fail("a type")
        at = found.end()
        return found[1] + found[3], found[1] + (found[2] or "") + found[3], "!" in (found[2] or "")

    skip()
    while not text.startswith(")", at):
        if text.startswith("*", at):
            only = True
            at += 1
        else:
            kind, written, write = type_()
            skip()
            name = re.compile(r"[A-Za-z_]\w*").match(text, at)
            if not name:
                fail("ident")
            at = name.end()
            skip()
            default: Any = UNGIVEN
            if text.startswith("=", at):
                value = re.compile(r'\s*("(?:[^"\\]|\\.)*"|\'[^\']*\'|\[[^\]]*\]|[^,()\s]+)').match(text, at + 1)
                if not value:
                    fail("a default")
                at = value.end()
                default = literal(value[1], kind)
            arguments.append(Argument(name[0], kind, default, only, write, written))
        skip()
        if text.startswith(",", at):
            at += 1
            skip()
            if text.startswith(")", at) or text.startswith("->", at):
                fail("ident")
        elif not text.startswith(")", at):
            fail("',' or ')'")
    at += 1
    skip()
    if not text.startswith("->", at):
        fail("'->'")
    at += 2
    skip()
    returns: list[str] = []
    several = text.startswith("(", at)
    if several:
        at += 1
        skip()
        while not text.startswith(")", at):
            returns.append(type_()[1])
            named_ = re.compile(r"\s*[A-Za-z_]\w*").match(text, at)
            at = named_.end() if named_ else at
            skip()
            if text.startswith(",", at):
                at += 1
                skip()
            elif not text.startswith(")", at):
                fail("',' or ')'")
        at += 1
    else:
        returns.append(type_()[1])
    skip()
    if at != len(text):
        fail("the end")
    return Schema(match[1], match[2] or "", arguments, returns, several)


def literal(text: str, kind: str) -> Any:
    """The value of a default."""
    if text[:1] in "\"'":
        return text[1:-1]
    if text.startswith("["):
        inner = text[1:-1].strip()
        return [literal(t.strip(), kind.split("[")[0]) for t in inner.split(",")] if inner else []
    if text in ("None", "True", "False"):
        return {"None": None, "True": True, "False": False}[text]
    if text in dtypes.BY_NAME:
        return dtypes.BY_NAME[text]
    try:
        return int(text) if kind.rstrip("?") not in ("float", "complex") else float(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text
