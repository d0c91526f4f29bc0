"""Run a program as ``python`` would run it, with ``import torch`` meaning bibun.

In comes a command line as ``python`` takes it after its own options: ``script.py args…``, ``-m module args…``,
``-c code args…``, ``-`` (standard input), or a folder or zip file with a ``__main__.py``. The program gets its own
``__main__`` module, ``sys.argv`` and ``sys.path[0]``; how it ends (exit status, uncaught exception, Ctrl-C) is how this
process ends, and its traceback shows no line of ours.
"""

from __future__ import annotations

import builtins
import io
import os
import sys
from types import CodeType, ModuleType, TracebackType
from typing import Any, NoReturn

from . import alias

USAGE = "script.py | folder | file.zip | - | -m module | -c code, and the program's arguments"


def complain(message: str) -> NoReturn:
    """End as ``python`` does on a command line that it cannot follow."""
    print(f"bibun: {message}", file=sys.stderr)
    raise SystemExit(2)


def run(argv: list[str]) -> None:
    """Run the program that ``argv`` names; returns when it comes to its end, and raises what it raises."""
    if not argv:
        complain(f"nothing to run; give {USAGE}")
    alias.install()
    main = sys.modules["__main__"] = ModuleType("__main__")
    space: dict[str, Any] = main.__dict__
    space["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        space["__annotations__"] = {}
    try:
        first, rest = argv[0], argv[1:]
        if first[:2] == "-m":
            _module(first[2:], rest)
        elif first[:2] == "-c":
            _command(space, first[2:], rest)
        elif first == "-":
            _standard_input(space, rest)
        elif first[:1] == "-":
            complain(f"no such option: {first} (Python's own options go before -m: python {first} -m bibun …)")
        elif (importer := _importer(first)) is not None:
            _folder(first, importer, rest)
        else:
            _script(space, first, rest)
    except SystemExit:
        raise
    except BaseException:
        _hide_us()
        raise


def _start(argv: list[str], path0: str | None) -> None:
    sys.argv[:] = argv
    if path0 is not None and not sys.flags.safe_path:
        sys.path[0] = path0


def _script(space: dict[str, Any], script: str, rest: list[str]) -> None:
    # As Python spells it: absolute, and otherwise as given.
    path = script if os.path.isabs(script) else os.path.join(os.getcwd(), script)
    from importlib.machinery import SourceFileLoader, SourcelessFileLoader
    compiled = script.endswith(".pyc")
    loader = (SourcelessFileLoader if compiled else SourceFileLoader)("__main__", path)
    _start([script, *rest], os.path.dirname(os.path.realpath(script)))
    space.update(__file__=path, __cached__=None, __loader__=loader)
    try:
        if compiled:
            code: Any = loader.get_code("__main__")
        else:
            with io.open_code(path) as file:
                source = file.read()
    except OSError as error:
        complain(f"can't open file {path!r}: [Errno {error.errno}] {error.strerror}")
    if not compiled:
        code = compile(source, path, "exec", dont_inherit=True)
    exec(code, space)


def _text(source: str | bytes, name: str) -> CodeType:
    """Compile a program that is in no file; its lines are kept where tracebacks and bibun's errors look for them."""
    import linecache
    lines = (source.decode(errors="replace") if isinstance(source, bytes) else source).splitlines(True)
    linecache.cache[name] = (sum(map(len, lines)), None, lines, name)
    return compile(source, name, "exec", dont_inherit=True)


def _command(space: dict[str, Any], code: str, rest: list[str]) -> None:
    if not code:
        if not rest:
            complain("argument expected for the -c option")
        code, *rest = rest
    from importlib.machinery import BuiltinImporter
    _start(["-c", *rest], "")
    space["__loader__"] = BuiltinImporter
    exec(_text(code, "<string>"), space)


def _standard_input(space: dict[str, Any], rest: list[str]) -> None:
    from importlib.machinery import BuiltinImporter
    _start(["-", *rest], "")
    space["__loader__"] = BuiltinImporter
    if sys.stdin.isatty():
        import code
        code.interact(local=space, exitmsg="")
        return
    space.update(__file__="<stdin>", __cached__=None)
    exec(_text(sys.stdin.buffer.read(), "<stdin>"), space)


def _module(name: str, rest: list[str]) -> None:
    if not name:
        if not rest:
            complain("argument expected for the -m option")
        name, *rest = rest
    _start(["-m", *rest], os.getcwd())
    _runpy(name, True)


def _importer(path: str) -> Any:
    """What imports from ``path``, where it is a folder or a zip file; None for a script."""
    for hook in sys.path_hooks:
        try:
            return hook(path)
        except ImportError:
            continue
    return None


def _folder(path: str, importer: Any, rest: list[str]) -> None:
    whole = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    _start([path, *rest], None)
    if sys.flags.safe_path:
        sys.path.insert(0, whole)
    else:
        sys.path[0] = whole
    _runpy("__main__", False)


def _runpy(name: str, alter_argv: bool) -> None:
    """Python's own way of running a module as ``__main__``: what ``python -m`` calls."""
    import runpy
    runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined]


def _hide_us() -> None:
    """Have the interpreter report the exception now passing with the program's frames alone.

    The exception goes on its way up through our frames and Python's; only when it has reached the top and is about to
    be shown are they cut off, and the hook then called is the one that the program wants (it may have set its own).
    """
    theirs = sys.excepthook

    def show(kind: type[BaseException], value: BaseException, tb: TracebackType | None) -> None:
        sys.excepthook = theirs
        cut = tb
        while cut is not None and cut.tb_frame.f_code is not run.__code__:
            cut = cut.tb_next
        while cut is not None and cut.tb_frame.f_code.co_filename == __file__:
            cut = cut.tb_next
        value.__traceback__ = cut
        sys.last_traceback = cut
        theirs(kind, value, cut)

    sys.excepthook = show
