"""``import torch`` means bibun: an import hook for one process and the children it starts.

In comes nothing but a call of `install` (the runner makes it before a script starts); from then on ``import torch`` and
every ``import torch.x.y`` give the very modules ``bibun`` and ``bibun.x.y``. No file, no other process is touched: an
installed PyTorch stays what it is, everywhere else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType, TracebackType
from typing import Any

__all__ = ["Alias", "install", "installed", "uninstall"]

HERE = os.path.dirname(os.path.abspath(__file__))
#: A folder holding ``torch.py`` alone, by which child processes come to the alias.
STAND_IN = os.path.join(HERE, "_stand_in")


def _ours(module: ModuleType | None) -> bool:
    return getattr(module, "__name__", "").partition(".")[0] == "bibun"


def _real(name: str) -> str:
    return "bibun" + name.removeprefix("torch")


def _module(name: str) -> ModuleType | None:
    """The module behind a ``torch`` name: a file of that name, or a module that is an attribute of its parent."""
    real = _real(name)
    try:
        return import_module(real)
    except ModuleNotFoundError as error:
        if error.name != real:
            raise  # the module is there and lacks something itself
    parent, _, child = real.rpartition(".")
    found = getattr(sys.modules.get(parent), child, None)
    return found if isinstance(found, ModuleType) else None


class _KeepsItsAttribute(ModuleType):
    """A package for the moment in which importlib binds a submodule in it.

    Where a function has the submodule's name (``torch.autograd.gradcheck`` is one), the attribute is the function.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__("__class__", ModuleType)
        if not isinstance(value, ModuleType):
            setattr(self, name, value)


class _Loader:
    """Hands importlib a module that is loaded already."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # importlib has put the alias's own there
        parent, _, child = module.__name__.rpartition(".")
        holder = sys.modules.get(parent)
        if type(holder) is ModuleType and not isinstance(holder.__dict__.get(child, module), ModuleType):
            holder.__class__ = _KeepsItsAttribute

    def get_code(self, name: str) -> CodeType | None:  # for `-m torch.x`
        loader: Any = self.spec and self.spec.loader
        return loader.get_code(_real(name)) if hasattr(loader, "get_code") else None


class _Finder:
    """The entry of ``sys.meta_path``, and of ``importlib.metadata``: both find torch here first."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "torch" and not name.startswith("torch."):
            return None
        module = _module(name)
        if module is None:
            if sys._getframe(1).f_globals.get("__name__") == "importlib.util" or \
                    sys._getframe(2).f_globals.get("__name__") == "importlib.util":
                return None  # importlib.util.find_spec asks whether there is one
            from .version import bibun
            raise ModuleNotFoundError(
                f"No module named {name!r} (torch is bibun {bibun} here, which has no {_real(name)!r}; "
                f"to use PyTorch's, run the program with plain `python`)", name=name)
        spec = ModuleSpec(name, _Loader(module), origin=getattr(module, "__file__", None),  # type: ignore[arg-type]
                          is_package=hasattr(module, "__path__"))
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations[:] = module.__path__
        return spec

    # Python drops importlib's own frames from the traceback of a failed import; ours is no more use to the reader.
    find_spec.__code__ = find_spec.__code__.replace(co_filename="<frozen importlib._bootstrap>")

    def find_distributions(self, context: Any = None) -> Iterator[Any]:
        """``importlib.metadata.version("torch")`` says what ``torch.__version__`` says."""
        if (getattr(context, "name", None) or "").lower() == "torch":
            from ._alias_metadata import distribution
            yield distribution()

    def invalidate_caches(self) -> None:
        pass


_finder: _Finder | None = None
_paths: list[str] = []  # what was put on the children's PYTHONPATH


def installed() -> bool:
    """Whether ``import torch`` gives bibun in this process."""
    return _finder is not None


class Alias:
    """What `install` returns: leaving it as a context manager takes the alias away, if that call put it there."""

    def __init__(self, owner: bool) -> None:
        self.owner = owner

    def __enter__(self) -> ModuleType:
        return import_module("bibun")

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self.owner:
            uninstall()


def install(children: bool = True) -> Alias:
    """Make ``import torch``, in this process, mean bibun.

    With ``children``, Python processes started from here (multiprocessing workers of every start method, subprocesses)
    see the same. Installing twice does nothing more.

    Raises RuntimeError where PyTorch itself is imported already: two libraries under one name would mix their tensors.

    >>> import bibun.alias
    >>> with bibun.alias.install(children=False):
    ...     import torch
    ...     torch.nn.functional.relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    global _finder
    if _finder is not None:
        return Alias(owner=False)
    there = sys.modules.get("torch")
    if there is not None and not _ours(there):
        raise RuntimeError(
            f"PyTorch is imported already in this process, from {getattr(there, '__file__', 'an unknown place')}: call "
            "bibun.alias.install() before anything imports torch, or start the program with `python -m bibun`")
    _finder = _Finder()
    sys.meta_path.insert(0, _finder)
    if children:
        _tell_children()
    return Alias(owner=True)


def uninstall() -> None:
    """Undo `install`: the next ``import torch`` finds what Python finds. Modules already imported stay in use."""
    global _finder
    if _finder is None:
        return
    sys.meta_path.remove(_finder)
    _finder = None
    for name in [n for n in sys.modules if n == "torch" or n.startswith("torch.")]:
        del sys.modules[name]
    if _paths:
        sys.path[:] = [p for p in sys.path if p != STAND_IN]
        left = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p not in _paths]
        if any(left):
            os.environ["PYTHONPATH"] = os.pathsep.join(left)
        else:
            os.environ.pop("PYTHONPATH", None)
        _paths.clear()


def _tell_children() -> None:
    """Have children find the stand-in on their path; multiprocessing hands them our ``sys.path``, so there too."""
    old = os.environ.get("PYTHONPATH", "")
    given = old.split(os.pathsep) if old else []
    root = os.path.dirname(HERE)
    wanted = [STAND_IN]
    if os.path.basename(root) not in ("site-packages", "dist-packages"):
        wanted.append(root)  # run from a checkout: a child may start where bibun is not found
    _paths[:] = [p for p in wanted if p not in given]
    if _paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(_paths + given)
    if STAND_IN not in sys.path:
        sys.path.insert(1, STAND_IN)
