"""Watching a function run: what it does besides computing with tensors, and what it assumes.

In: Python's profile events while a recording is open. Out: which modules were called, which names and attributes the user's code could
read, and a `Refused` for whatever a recording cannot repeat: output, files, clocks, containers and attributes that are written, tensors
whose values are read into Python. Calls of optimizers, schedulers, clipping and random draws are not looked into: they are repeated
as they are.
"""

from __future__ import annotations

import dis
import os
import sys
import sysconfig
from collections import ChainMap
from collections.abc import Iterator
from contextlib import contextmanager
from types import GeneratorType
from typing import Any

import ml_dtypes
import numpy as np

from .. import overriding
from ..autograd import dispatch, versions
from ..functions.register import FUNCTIONS, METHODS
from ..nn import Module
from ..tensor import Tensor
from .recorder import Recorder, Refused

__all__ = ["Watch", "watching"]

_ROOT = dispatch._Internal.root
_STDLIB = tuple({sysconfig.get_paths()[k] for k in ("stdlib", "platstdlib")})
_KNOWN = tuple(os.path.dirname(m.__file__ or "") for m in (np, ml_dtypes))
_OURS = ("/llvmlite/", "/scipy/", "/scipy_openblas64/")  # which are called on behalf of the library
_PURE_MODULES = (
    "contextlib functools typing collections itertools math enum abc copy operator types inspect numbers string re dataclasses warnings "
    "_collections_abc importlib weakref threading random"
).split()
_PURE_BUILTINS = frozenset(
    "len range isinstance issubclass zip enumerate min max sum abs tuple list dict set frozenset map filter sorted reversed getattr hasattr type int float bool str repr "
    "callable divmod round pow all any iter hash id format slice super __build_class__ vars".split()
)
#: What no package may do unseen: modules of built-in functions, and names of methods.
_EFFECTS = frozenset(("time", "io", "_io", "posix", "nt", "_socket", "select", "_queue", "_random", "_thread", "marshal"))
_EFFECTIVE = frozenset(("print", "input", "open", "exec", "breakpoint", "write", "writelines", "flush", "read", "readline", "recv", "send"))
_SIZES = frozenset(("shape", "size", "numel", "nelement", "len", "nbytes", "__len__"))
_ORDERING = frozenset(("min", "max", "sorted", "clip", "clamp"))
_STEPPED = frozenset(("%", "//", "&", "|", "^", ">>"))
_READS = frozenset(("item", "tolist", "numpy", "__array__", "__bool__", "_number", "__index__", "__contains__"))
_CHANGES = frozenset(("train", "eval", "requires_grad_", "load_state_dict", "register_buffer", "register_parameter", "register_module", "add_module", "apply"))
_PURE_METHODS = {
    str: None, bytes: None, int: None, float: None, bool: None, tuple: None, complex: None, frozenset: None, range: None,
    dict: frozenset(("get", "items", "keys", "values", "copy")), list: frozenset(("copy", "index", "count")),
}  # fmt: skip


#: Functions and, where there is none of the name, methods of tensors.
_PUBLIC = ChainMap(FUNCTIONS, METHODS)


class Watch:
    """The profile function of one recording."""

    #: `native.build` may look away from what it does itself.
    aside = True

    def __init__(self, recorder: Recorder):
        self.recorder = recorder
        self.kinds: dict[Any, str] = {}
        self.modules: dict[int, Any] = {}
        self.names: dict[tuple[int, str], tuple[str, Any]] = {}  # the globals that code reads, and where they are
        self.imported: set[str] = set()  # modules that it imports
        self.outer: dict[Any, list[str]] = {}  # code -> the globals that it names
        self.owners: dict[int, Any] = {}  # objects whose simple attributes methods may read
        self.stores: dict[Any, dict[int, str]] = {}  # code -> {instruction: what it writes}, until it is seen to be harmless
        self.foreign: set[Any] = set()  # code of other packages
        self.writing: set[Any] = set()  # of that, what writes to attributes
        self.called: set[tuple[Any, int]] = set()  # the instructions at which functions of the library were called
        self.opaque: Any = None  # the frame of a library call that is not looked into
        self.new: dict[int, Any] = {}  # objects that the function makes
        self.before: dict[int, tuple[Any, dict[str, Any]]] = {}  # objects that packages' methods may write to, as they were
        self.call: Any = None
        self.refused: Refused | None = None

    # classification

    def kind(self, code: Any) -> str:
        """What a code object is to a recording."""
        found = self.kinds.get(code)
        if found is None:
            found = self.kinds[code] = self._kind(code)
        return found

    def _kind(self, code: Any) -> str:
        file, name = code.co_filename, code.co_name
        if file.startswith(_ROOT):
            here = file[len(_ROOT) :].replace("\\", "/")
            if here.startswith("compiler/"):
                return "own"
            if code is versions.written.__code__:
                return "written"
            if here.startswith(("optim/", "nn/utils/")) and not name.startswith("<"):
                return "opaque"
            if here == "functions/random.py" and not name.startswith(("<", "_")):
                return "random"
            if name == "zero_grad":
                return "opaque"
            if here == "nn/modules/module.py":
                if name in _CHANGES or name == "__setattr__":
                    return "changes"
            if here == "tensor.py" and name in _READS:
                return "reads"
            if here == "tensor.py" and name == "grad":
                return "setter"
            if here in ("functions/creation.py", "autograd/namespace.py") or name == "start_gradient" or here == "nn/init.py":
                return "creation"
            if here == "autograd/hooks.py" and name == "run_tensor_hooks":
                return "hooks"
            return "module" if here.startswith("nn/modules/") else "internal"
        if file == "<string>" and "_tuple_new" in code.co_names:
            return "internal"  # of a named tuple
        if file.startswith("<frozen") or file.startswith(_STDLIB) and "site-packages" not in file:
            base = file.rpartition("/")[2].removesuffix(".py")
            return "internal" if base in _PURE_MODULES or file.startswith("<frozen") or any(f"/{m}/" in file for m in _PURE_MODULES) else "world"
        if "site-packages" in file:
            if not file.startswith(_KNOWN) and not any(name in file for name in _OURS):
                self.foreign.add(code)
                self._read(code)
                if any(what.startswith("attr") for what in self.stores.pop(code, {}).values()):
                    self.writing.add(code)
            return "internal"
        self._read(code)
        return "user"

    def _read(self, code: Any) -> None:
        """Look at what a code object writes, and at the names that it reads."""
        stores = {}
        outer = self.outer[code] = []
        made = code.co_varnames[:1] if code.co_name == "__init__" else ()  # which is new: see `_begin`
        before: Any = None
        for step in dis.get_instructions(code):
            name = step.opname
            if name == "STORE_ATTR" and before.opname == "LOAD_FAST" and before.argval in made:
                continue
            before = step
            if name in ("LOAD_GLOBAL", "LOAD_NAME"):
                outer.append(step.argval)
            elif name == "IMPORT_NAME":
                self.imported.add(step.argval)
            if name in ("STORE_ATTR", "DELETE_ATTR", "STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE", "STORE_GLOBAL", "DELETE_GLOBAL") or (
                name in ("STORE_DEREF", "DELETE_DEREF") and step.argval in code.co_freevars
            ):
                stores[step.offset] = f"{name.split('_')[1].lower()} {step.argval if step.argval is not None else ''}".strip()
        if stores:
            self.stores[code] = stores

    # events

    def __call__(self, frame: Any, event: str, arg: Any) -> None:
        if self.refused is not None:
            return
        try:
            if self.opaque is not None:
                if frame is self.opaque and event == "return":
                    self._leave(arg)
                return
            if event == "call":
                self._enter(frame)
            elif event == "c_call":
                self._builtin(frame, arg)
            elif event == "return" and arg.__class__ is Tensor and self.kind(frame.f_code) == "creation":
                self._created(frame, arg)
        except Refused as why:
            self.refused = why
        except Exception as why:  # which would end the watch unnoticed
            self.refused = Refused(f"watching it failed: {type(why).__name__}: {why}")

    def _refuse(self, frame: Any, why: str) -> None:
        f = frame
        while f is not None and self.kind(f.f_code) != "user":
            f = f.f_back
        where = f" ({f.f_code.co_filename}, line {f.f_lineno})" if f is not None else ""
        raise Refused(why + where)

    def _enter(self, frame: Any) -> None:
        code = frame.f_code
        kind = self.kind(code)
        back = frame.f_back
        while back is not None and back.f_code.co_filename == overriding.__file__:
            back = back.f_back  # the function asks first, because some class overrides functions
        if kind != "user" and back is not None and back.f_lasti in self.stores.get(back.f_code, ()):
            first = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
            if isinstance(first, Tensor) and self.stores[back.f_code][back.f_lasti] in ("subscr", "slice", "attr grad"):
                del self.stores[back.f_code][back.f_lasti]  # what happens to the tensor is recorded
        if kind == "internal" or kind == "creation" or kind == "own":
            if back is not None:
                self.called.add((back.f_code, back.f_lasti))
            if code in self.foreign:
                self._assume(frame)
                owner = frame.f_locals.get(code.co_varnames[0]) if code in self.writing and code.co_argcount else None
                if isinstance(getattr(owner, "__dict__", None), dict) and not isinstance(owner, Tensor):
                    self.before.setdefault(id(owner), (owner, dict(vars(owner)) if code.co_name != "__init__" else {}))
            return
        if kind == "user" or kind == "module":
            self._visit(frame)
        if kind == "user":
            self._assume(frame)
            if code.co_name == "__init__":
                self._begin(frame)
        elif kind == "opaque" or kind == "random":
            self.opaque, self.call = frame, _called(frame)
            if kind == "random":
                self.recorder.freeze(self.call[1:])  # as they are before it fills them
            for group in getattr(frame.f_locals.get("self"), "param_groups", ()):
                for p in group["params"]:
                    self.recorder.reads(p)
            self.recorder.paused = True
            dispatch.busy[0] -= 1
        elif kind == "setter":
            t = frame.f_locals.get("self")
            if code.co_name == "grad" and code.co_argcount == 1 and isinstance(t, Tensor):
                self.recorder.sees_grad(t)
                if t._grad is not None:
                    self.recorder.held.add(id(t._grad._a))
            if code.co_name == "grad" and "value" in frame.f_locals and isinstance(t, Tensor):
                self.recorder.leaves.setdefault(t, None)
                self._later_grad(t, frame.f_locals["value"])
        elif kind == "reads":
            self._refuse(frame, f"it reads the value of a tensor ({code.co_name.strip('_')})")
        elif kind == "changes" and not self._keeps(frame):
            self._refuse(frame, f"it changes a module ({code.co_name})")
        elif kind == "hooks":
            self._refuse(frame, "a hook runs in its backward")
        elif kind == "written":
            if back.f_code.co_name != "assign":
                self._refuse(frame, "it writes memory in a way that is not recorded")
        elif kind == "world" and back is not None and self.kind(back.f_code) == "user":
            self._refuse(frame, f"it calls {code.co_filename.rpartition('/')[2]}:{code.co_name}()")

    def _keeps(self, frame: Any) -> bool:
        """Whether an attribute of a module is given what it is already, as ``self.count += 1`` does with tensors."""
        given = frame.f_locals
        if frame.f_code.co_name != "__setattr__" or not isinstance(given.get("value"), Tensor):
            return False
        owner, name = given["self"], given["name"]
        if not any(d.get(name) is given["value"] for d in (owner._parameters, owner._buffers, vars(owner))):
            return False
        self.stores.get(frame.f_back.f_code, {}).pop(frame.f_back.f_lasti, None)
        return True

    def _begin(self, frame: Any) -> None:
        """Note an object that is being made, whose attributes may be written."""
        owner = frame.f_locals.get("self")
        if id(owner) not in self.new:
            if getattr(owner, "__dict__", None):
                self._refuse(frame, f"it calls {type(owner).__name__}.__init__ of one that was there before")
            self.new[id(owner)] = owner

    def _visit(self, frame: Any) -> None:
        """Note the module whose method runs."""
        code = frame.f_code
        module = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        if isinstance(module, Module) and id(module) not in self.modules:
            self.modules[id(module)] = module
            for t in (*module._parameters.values(), *module._buffers.values()):
                self.recorder.reads(t)

    def _later_grad(self, t: Any, value: Any) -> None:
        """``t.grad = value``, which is about to happen."""
        if value is not None:
            raise Refused("it assigns a gradient")
        from .recorder import Step

        self.recorder.name(t)
        self.recorder.leaves[t] = None
        self.recorder.steps.append(Step("grad", self.recorder.who(t), (None,)))

    def _leave(self, result: Any) -> None:
        self.opaque = None
        self.recorder.paused = False
        dispatch.busy[0] += 1
        function, args, kwargs = self.call
        self.recorder.note_call(function, args, kwargs, result)

    def _created(self, frame: Any, t: Any) -> None:
        """Note a tensor made of nothing, or like another: its values are constants, those of an empty one are not."""
        code: Any = frame.f_code
        title = code.co_name
        if "name" in code.co_freevars:  # one of several functions of the same code
            title = frame.f_locals["name"]
        for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            if isinstance(frame.f_locals.get(name), Tensor) and not (
                name in ("input", "self", "other", "t", "x") and title.endswith("_like") or title.startswith("new_") or title == "start_gradient"
            ):
                return
        if "rand" in title or id(t._a) in self.recorder.known or id(t._a) in self.recorder.named:
            return
        if "empty" in title:
            self.recorder.note_call(*_called(frame), t)
        else:
            self.recorder.fresh[id(t._a)] = t._a

    def _builtin(self, frame: Any, called: Any) -> None:
        owner = getattr(called, "__self__", None)
        name = getattr(called, "__name__", "")
        if self.kind(frame.f_code) != "user":
            if frame.f_code in self.foreign and (name in _EFFECTIVE or _EFFECTS & {getattr(called, "__module__", None), type(owner).__module__, getattr(owner, "__name__", None)}):
                self._refuse(frame, f"{frame.f_code.co_filename.rpartition('/')[2]} calls {getattr(called, '__qualname__', called)}")
            return
        if getattr(called, "__module__", None) in ("builtins", None) and (owner is None or type(owner).__name__ == "module") and name in _PURE_BUILTINS:
            return
        if type(owner) in _PURE_METHODS:
            pure = _PURE_METHODS[type(owner)]
            if pure is None or name in pure:
                return
        if getattr(called, "__module__", None) in ("math", "_operator", "itertools", "_functools", "_collections"):
            return
        if type(owner).__name__ == "module" and getattr(owner, "__name__", "") in ("math", "_operator", "builtins") and name in (*_PURE_BUILTINS, *vars(sys.modules["math"])):
            return
        self._refuse(frame, f"it calls {getattr(called, '__qualname__', called)}")

    # assumptions

    def _assume(self, frame: Any) -> None:
        """Note from where code may read what is not given to it."""
        code = frame.f_code
        space = frame.f_globals
        for name in self.outer[code]:
            if name in space and (id(space), name) not in self.names:
                self.names[id(space), name] = name, space
                self.recorder.reads(space[name])
        for name in code.co_freevars:
            if isinstance(frame.f_locals.get(name), Tensor):
                self.recorder.name(frame.f_locals[name])
        owner = frame.f_locals.get("self")
        if not isinstance(owner, Tensor) and isinstance(getattr(owner, "__dict__", None), dict):
            self.owners[id(owner)] = owner
            for value in vars(owner).values():
                self.recorder.reads(value)

    def size_use(self) -> str:
        """What the user's code may do with sizes: "none" but compute with them, "order" (compare them: it goes one way for all sizes between
        two), or "any"."""
        codes = [*self.foreign, *(code for code, kind in self.kinds.items() if kind == "user")]
        if not any(_SIZES.intersection(code.co_names) for code in codes):
            return "none"
        use = "none"
        for code in codes:
            if _ORDERING.intersection(code.co_names):
                use = "order"
            before: Any = None
            for step in dis.get_instructions(code):
                name, about_tensors = step.opname, (code, step.offset) in self.called
                if name == "COMPARE_OP" and not about_tensors:
                    text = isinstance(getattr(before, "argval", None), str) and before.opname == "LOAD_CONST"
                    if step.argval in ("==", "!=") and not text:
                        return "any"
                    use = "order"
                elif name == "CONTAINS_OP" and not about_tensors or name == "BINARY_OP" and step.argrepr.rstrip("=") in _STEPPED and not about_tensors:
                    return "any"
                elif "JUMP" in name and ("_IF_TRUE" in name or "_IF_FALSE" in name) and before is not None and before.opname == "BINARY_OP":
                    return "any"
                before = step
        return use

    def finish(self) -> None:
        """Raise what was found."""
        if self.refused is not None:
            raise self.refused
        for owner, attributes in self.before.values():
            for name, value in attributes.items():
                if vars(owner).get(name, attributes) is not value:
                    raise Refused(f"a {type(owner).__name__} changes its attribute {name}")
        for code, stores in self.stores.items():
            for offset, what in stores.items():
                line = next((line for start, end, line in code.co_lines() if start <= offset < end), None)
                raise Refused(f"it writes {what} ({code.co_filename}, line {line})")


def _called(frame: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """(function, args, kwargs) of a call, from its frame."""
    code = frame.f_code
    names = code.co_varnames
    given = frame.f_locals
    args = [_again(given[n]) for n in names[: code.co_argcount]]
    at = code.co_argcount + code.co_kwonlyargcount
    kwargs = {n: given[n] for n in names[code.co_argcount : at]}
    if code.co_flags & 4:
        args += given[names[at]]
        at += 1
    if code.co_flags & 8:
        kwargs.update(given[names[at]])
    public = _PUBLIC.get(given["name"]) if "name" in code.co_freevars else None
    if public is not None:  # one of several functions of the same code, which know their names
        return public, tuple(args), kwargs
    if args and names[0] == "self":
        owner = args.pop(0)
        function = getattr(owner, code.co_name, None)
    else:
        function = frame.f_globals.get(code.co_name)
        if not _runs(function, frame):
            function = next((f for f in frame.f_globals.values() if callable(f) and _runs(f, frame)), None)
    if not _runs(function, frame):
        raise Refused(f"{code.co_name}() cannot be called again")
    return function, tuple(args), kwargs


def _runs(function: Any, frame: Any) -> bool:
    """Whether a frame is of a call of the function, or of what it wraps: of the same code with the same variables around it."""
    code: Any = frame.f_code
    while function is not None:
        plain = getattr(function, "__func__", function)
        if getattr(plain, "__code__", None) is code:
            cells = zip(frame.f_code.co_freevars, getattr(plain, "__closure__", None) or ())
            return all(name in frame.f_locals and cell.cell_contents is frame.f_locals[name] for name, cell in cells)
        function = getattr(function, "__wrapped__", None)
    return False


def _again(x: Any) -> Any:
    """An argument that can be given a second time: the parameters of a module, which come one by one, as a list."""
    if isinstance(x, GeneratorType):
        given = x.gi_frame.f_locals if x.gi_frame is not None else {}
        if x.gi_code.co_name == "parameters" and "self" in given:
            return list(given["self"].parameters(given.get("recurse", True)))
        raise Refused("a generator is given to a function of the library")
    return x


@contextmanager
def watching(recorder: Recorder) -> Iterator[Watch]:
    """Watch this thread; what was found is raised at the end."""
    watch = Watch(recorder)
    sys.setprofile(watch)
    try:
        yield watch
    finally:
        sys.setprofile(None)
        if watch.opaque is not None:  # an exception came out of a library call
            watch.opaque = None
            recorder.paused = False
            dispatch.busy[0] += 1
    watch.finish()
