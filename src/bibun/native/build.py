"""From LLVM text to machine code in this process, and onto disk for the next one.

In: what names a piece of code (a key) and a function that writes its text. Out: addresses of functions. Object code is kept
in a directory of the user's cache, named by a hash of the key, the processor and LLVM's version: a second run compiles
nothing. Files are written beside their place and moved into it, so that several processes may share the directory, and a file
that is damaged is as good as none. The directory holds about `BOUND` bytes (256 MiB); then the oldest files go. Without llvmlite
`available` is False and nothing here may be called.

LLVM ends the process where it finds no memory or no address for a name, so both are looked at before it is asked, and raise here.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import platform
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from . import default_threads
from .ir import Module

__all__ = ["FORMAT", "available", "features", "load", "shared", "sources", "symbol", "target"]

#: Raised when anything changes that the keys of cached code do not show.
FORMAT = 2
#: How the names of functions begin that code of several modules calls; the rest is the kind of function and where its object code is kept.
SHARED = "bibun.shared."
#: Bytes of object code that the directory may hold before the oldest go.
BOUND = 256 << 20

#: Bytes of address space that must be free before LLVM is asked for anything: it ends the process where it finds none.
ROOM = 192 << 20

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child must not find the lock taken by a thread that it does not have
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_kept: list[Any] = []  # LLVM's objects live as long as the process: worker threads may be inside their code


@cache
def available() -> bool:
    """Whether native code can be made: llvmlite is there, and nobody has switched it off with ``BIBUN_NATIVE=0``."""
    if os.environ.get("BIBUN_NATIVE", "1").lower() in ("0", "off", "false", "no"):
        return False
    try:
        import llvmlite.binding  # noqa: F401
    except Exception:
        return False
    return os.name == "posix" and sys.maxsize > 2**32 and sys.byteorder == "little"  # workers are threads of POSIX


def check_room() -> None:
    """Raise MemoryError where the process may not have what LLVM could ask for."""
    try:
        mmap.mmap(-1, ROOM).close()
    except (OSError, ValueError):
        raise MemoryError(f"fewer than {ROOM >> 20} MiB of address space are left to make native code in") from None


@cache
def features() -> tuple[str, str, frozenset[str]]:
    """(processor, features in LLVM's words, the features that are on); ``BIBUN_CPU`` names another processor."""
    import llvmlite.binding as llvm

    said = os.environ.get("BIBUN_CPU")
    if said:
        name, _, more = said.partition(",")
        return name, more, frozenset(w[1:] for w in more.split(",") if w.startswith("+")) | _KNOWN.get(name, frozenset())
    held = llvm.get_host_cpu_features()
    return llvm.get_host_cpu_name(), held.flatten(), frozenset(k for k, on in held.items() if on)


_KNOWN = {"haswell": frozenset({"avx", "avx2", "f16c", "fma"}), "x86-64": frozenset(), "x86-64-v3": frozenset({"avx", "avx2", "f16c", "fma"})}


def halves() -> bool:
    """Whether the processor converts float16."""
    return "f16c" in features()[2] or platform.machine() in ("aarch64", "arm64")


@cache
def vector_bytes() -> int:
    """Width of the processor's vectors in bytes."""
    on = features()[2]
    return 64 if "avx512f" in on else 32 if "avx2" in on else 16


@cache
def _machinery() -> tuple[Any, Any, Any]:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    machine, engine = _machine(), llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    _kept.append((machine, engine))
    return llvm, machine, engine


def _machine() -> Any:
    import llvmlite.binding as llvm

    name, words, _ = features()
    return llvm.Target.from_default_triple().create_target_machine(cpu=name, features=words, opt=3, codemodel="jitdefault", jit=True)


def target() -> Any:
    """LLVM's target machine for this processor."""
    return _machinery()[1]


def symbol(name: str, address: int) -> None:
    """Tell code that is loaded from now on where a function of that name is."""
    _machinery()[0].add_symbol(name, address)


#: What is done to code that is written in vectors: a tenth of the time that LLVM's own pipeline takes, and as fast where that was tried.
_SHORT = ("always_inliner", "sroa", "simplify_cfg", "instruction_combine", "loop_simplify", "loop_rotate", "instruction_combine", "simplify_cfg")


def compile_text(text: str, explicit: bool = False, unroll: bool = True, machine: Any = None) -> bytes:
    """Object code of a module's text. The text is verified first: what is wrong raises here and never runs.

    ``explicit``: its loops are written in vectors, so only what is left to do then is done. Without ``unroll`` loops stay short: for long
    functions of many loops of few turns each, which so take half the time to compile and no more to run. Several threads may compile, each
    with a ``machine`` of its own."""
    check_room()
    llvm, first, _ = _machinery()
    machine = machine or first
    module = llvm.parse_assembly(text, llvm.create_context())
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    options.loop_unrolling = unroll
    builder = llvm.create_pass_builder(machine, options)
    if explicit:
        passes = llvm.create_new_module_pass_manager()
        for name in _SHORT:
            getattr(passes, f"add_{name}_pass")()
    else:
        passes = builder.getModulePassManager()
    _unlocked("LLVMPY_RunNewModulePassManager")(passes, module, builder)
    lib, OutputString = llvm.ffi.lib, llvm.ffi.OutputString
    with OutputString() as error:
        made = _unlocked("LLVMPY_TargetMachineEmitToMemory")(machine, module, 1, error)
        if not made:
            raise RuntimeError(str(error))
    try:
        return ctypes.string_at(lib.LLVMPY_GetBufferStart(made), lib.LLVMPY_GetBufferSize(made))
    finally:
        lib.LLVMPY_DisposeMemoryBuffer(made)


@cache
def _unlocked(name: str) -> Any:
    """A function of llvmlite's without the lock that it holds around each (where it can be had so): LLVM asks for none where threads have
    contexts of their own."""
    function = getattr(_machinery()[0].ffi.lib, name)
    return getattr(function, "_cfn", function)


#: Target machines for threads beside the caller's.
_spare: list[Any] = []


def _compiled(modules: list[Module]) -> list[bytes]:
    """The object code of modules, made by two threads where there are several."""
    texts = [m.text() for m in modules]
    if os.environ.get("BIBUN_EXPLAIN") == "llvm":
        print(*texts, sep="\n", file=sys.stderr)
    made: dict[int, bytes] = {}
    failed: list[BaseException] = []
    left = sorted(range(len(modules)), key=lambda k: len(texts[k]))

    def work(machine: Any = None) -> None:
        while left and not failed:
            try:
                k = left.pop()
                made[k] = compile_text(texts[k], modules[k].explicit, modules[k].unroll, machine)
            except IndexError:
                pass  # the other has taken the last one
            except Exception as why:
                failed.append(why)

    def help() -> None:
        machine = _spare.pop() if _spare else _machine()
        work(machine)
        _spare.append(machine)

    if len(modules) > 1 and default_threads() > 1:
        helper = threading.Thread(target=help, name="bibun.native", daemon=True)
        helper.start()
        work()
        helper.join()
    else:
        work()
    if failed:
        raise failed[0]
    return [made[k] for k in range(len(modules))]


def attributes() -> str:
    """Words for functions that hold loops: how wide LLVM may vectorise."""
    width = vector_bytes() * 8
    return f'"prefer-vector-width"="{width}" "min-legal-vector-width"="{width if width == 512 else 0}"'


@cache
def sources() -> str:
    """A hash of the code that kernels are written in, for the keys of cached object code."""
    made = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        made.update(file.read_bytes())
    return made.hexdigest()[:20]


def _digest(key: str) -> str:
    name, words, _ = features()
    full = "\0".join((str(FORMAT), _machinery()[0].llvm_version_info.__repr__(), sys.platform, name, words, key))
    return hashlib.sha256(full.encode()).hexdigest()[:40]


def shared(key: str, stem: str, write: Callable[[Module, str], None]) -> str:
    """The name of a function that all modules may call. Where it is new, it is loaded, or written by ``write`` (under its name), and is there
    when `load` has made what calls it."""
    with _lock:
        digest = _digest(key)
        name = f"{SHARED}{stem}.{digest}"
        if name not in _waiting and not _linked_all([name]):
            module = Module()
            write(module, name)
            _waiting[name] = module
        return name


#: The shared functions that are there, with their addresses, and those that are written and not compiled, each after those that it calls.
_linked: dict[str, int] = {}
_waiting: dict[str, Module] = {}


def _linked_all(needs: Iterable[str]) -> bool:
    """Whether shared functions are there, after those on disk have been taken from it."""
    llvm, _, engine = _machinery()
    for name in needs:
        if name not in _linked:
            digest = name.rpartition(".")[2]
            found = _read(digest)
            if found is None or not _linked_all(found[1]):
                return False
            _linked[name] = _link(llvm, engine, found[0], [name], digest)[0]
            symbol(name, _linked[name])
    return True


def load(key: str, write: Callable[[Module], None], names: Iterable[str]) -> list[int]:
    """The addresses of functions, from the cache or written by ``write`` and compiled."""
    with _lock:
        check_room()
        llvm, _, engine = _machinery()
        digest = _digest(key)
        try:
            found = _read(digest)
            if found is not None and _linked_all(found[1]):
                return _link(llvm, engine, found[0], names, digest)
        except Exception:  # not our file after all
            pass
        module = Module()
        watch = sys.getprofile()
        if getattr(watch, "aside", False):
            sys.setprofile(None)
        try:
            write(module)
        finally:
            if getattr(watch, "aside", False):
                sys.setprofile(watch)
        new = dict(_waiting)
        _waiting.clear()
        *others, made = _compiled([*new.values(), module])
        for (name, other), code in zip(new.items(), others):
            of = name.rpartition(".")[2]
            _write(of, code, _needs(other))
            _linked[name] = _link(llvm, engine, code, [name], of)[0]
            symbol(name, _linked[name])
        _write(digest, made, _needs(module))
        return _link(llvm, engine, made, names, digest)


def _needs(module: Module) -> list[str]:
    """The shared functions that a module calls."""
    return [n for n in module.declared if n.startswith(SHARED)]


def _link(llvm: Any, engine: Any, made: bytes, names: Iterable[str], digest: str) -> list[int]:
    missing = [n for n in _wanted(made) if not llvm.address_of_symbol(n)]
    if missing:
        raise RuntimeError(f"native code calls what this process does not have: {', '.join(missing)}")
    held = llvm.ObjectFileRef.from_data(made)
    engine.add_object_file(held)
    engine.finalize_object()
    _kept.append(held)
    addresses = [engine.get_function_address(n) for n in names]
    if not all(addresses):
        raise RuntimeError(f"object code {digest} lacks one of {list(names)}")
    return addresses


def _wanted(made: bytes) -> list[str]:
    """The names that object code leaves to others, where it is of ELF's form; raises where it is no object code."""
    if made[:4] != b"\x7fELF":
        if made[:4] != b"\xcf\xfa\xed\xfe":  # Mach-O
            raise RuntimeError("this is no object code")
        return []
    (start,), (count,) = struct.unpack_from("<Q", made, 40), struct.unpack_from("<H", made, 60)
    sections = [struct.unpack_from("<IIQQQQIIQQ", made, start + 64 * i) for i in range(count)]
    found = []
    for s in sections:
        if s[1] == 2:  # the table of symbols; what it links to holds their names
            names = sections[s[6]][4]
            for at, _, _, section, _, _ in struct.iter_unpack("<IBBHQQ", made[s[4] : s[4] + s[5]]):
                if at and not section:
                    found.append(made[names + at : made.index(b"\0", names + at)].decode())
    return found


@cache
def directory() -> str | None:
    """Where object code is kept; None where nothing can be."""
    place = os.environ.get("BIBUN_CACHE")
    if place == "":
        return None
    if place is None:
        base = os.environ.get("XDG_CACHE_HOME") or (
            os.path.join(os.path.expanduser("~"), "Library", "Caches") if sys.platform == "darwin"
            else os.environ.get("LOCALAPPDATA") or os.path.expanduser("~") if os.name == "nt" else os.path.join(os.path.expanduser("~"), ".cache")
        )
        place = os.path.join(base, "bibun", "native")
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        if os.name == "posix" and os.stat(place).st_uid != os.getuid():
            return None  # somebody else could put code there
    except OSError:
        return None
    return place


def _read(digest: str) -> tuple[bytes, list[str]] | None:
    """Object code and the shared functions that it calls, from the directory."""
    place = directory()
    if place is None:
        return None
    try:
        with open(os.path.join(place, digest + ".o"), "rb") as file:
            data = file.read()
    except OSError:
        return None
    body, seal = data[:-32], data[-32:]
    if len(data) <= 64 or hashlib.sha256(body).digest() != seal:
        return None
    (length,) = struct.unpack("<I", body[-4:])
    needs = body[len(body) - 4 - length : -4].decode()
    return body[: len(body) - 4 - length], needs.split()


def _write(digest: str, made: bytes, needs: Iterable[str]) -> None:
    place = directory()
    if place is None:
        return
    said = " ".join(needs).encode()
    made = made + said + struct.pack("<I", len(said))
    try:
        handle, beside = tempfile.mkstemp(dir=place, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(made + hashlib.sha256(made).digest())
            os.replace(beside, os.path.join(place, digest + ".o"))
        except OSError:
            _forget(beside)
            return
        if os.urandom(1)[0] < 8:
            _bound(place)
    except OSError:
        pass  # a full disk or a read-only home: the next process compiles again


def _bound(place: str) -> None:
    """Let the oldest files go where the directory holds too much."""
    sized = []
    with os.scandir(place) as entries:
        for e in entries:
            try:
                sized.append((e.stat().st_mtime, e.stat().st_size, e.path))
            except OSError:
                pass  # another process was quicker
    total = sum(size for _, size, _ in sized)
    for _, size, path in sorted(sized):
        if total <= BOUND:
            break
        _forget(path)
        total -= size


def _forget(path: str) -> None:
    """Remove a file, if it is still there."""
    try:
        os.unlink(path)
    except OSError:
        pass
