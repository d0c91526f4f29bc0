"""``torch.hub``: models from a folder with a ``hubconf.py``, and downloads of weights.

In go folders, entry names and addresses; out come models and loaded files. bibun fetches no code: a repository named on
GitHub is refused, with what to do instead.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib.util
import os
import re
import sys
import tempfile
from types import ModuleType
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from . import alias

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]

HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")
_dir: str | None = None


def get_dir() -> str:
    """Where downloads are kept: what `set_dir` gave, or ``$TORCH_HOME/hub``, or ``~/.cache/torch/hub``."""
    if _dir is not None:
        return _dir
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return os.path.join(os.path.expanduser(home), "hub")


def set_dir(d: str | os.PathLike[str]) -> None:
    global _dir
    _dir = os.path.expanduser(d)


def _local(repo_or_dir: str | os.PathLike[str], source: str) -> str:
    """The folder named, where the source is one that bibun reads."""
    source = source.lower()
    if source not in ("github", "local"):
        raise ValueError(f'Unknown source: "{source}". Allowed values: "github" | "local".')
    if source == "github":
        raise RuntimeError("bibun does not fetch and run code from the network: "
                           f"clone {str(repo_or_dir)!r} yourself and give its folder, with source=\"local\"")
    return os.fspath(repo_or_dir)


def _hubconf(folder: str) -> ModuleType:
    path = os.path.join(folder, "hubconf.py")
    sys.path.insert(0, folder)
    try:
        spec = importlib.util.spec_from_file_location("hubconf.py", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    needed = [name for name in getattr(module, "dependencies", ()) if name != "torch"]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(f"Missing dependencies: {', '.join(missing)}")
    return module


def _entry(module: ModuleType, name: str) -> Any:
    if not isinstance(name, str):
        raise ValueError("Invalid input: model should be a string of function name")
    entry = getattr(module, name, None)
    if entry is None or not callable(entry):
        raise RuntimeError(f"Cannot find callable {name} in hubconf")
    return entry


def list(github: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = "check",
         verbose: bool = True, source: str = "github") -> builtins.list[str]:
    """The names of the entries of a folder (``source="local"``)."""
    folder = _local(github, source)
    with alias.install(children=False):
        module = _hubconf(folder)
    return [name for name in dir(module) if callable(getattr(module, name)) and not name.startswith("_")]


def help(github: str, model: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = "check",
         source: str = "github") -> str | None:
    """The docstring of an entry of a folder (``source="local"``)."""
    folder = _local(github, source)
    with alias.install(children=False):
        return _entry(_hubconf(folder), model).__doc__


def load(repo_or_dir: str | os.PathLike[str], model: str, *args: Any, source: str = "github", trust_repo: Any = "check",
         force_reload: bool = False, verbose: bool = True, skip_validation: bool = False, **kwargs: Any) -> Any:
    """Call entry ``model`` of the ``hubconf.py`` in a folder (``source="local"``) with the further arguments.

    The folder's program says ``import torch``, which is bibun while it loads.
    """
    folder = _local(repo_or_dir, source)
    with alias.install(children=False):
        return _entry(_hubconf(folder), model)(*args, **kwargs)


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Download into ``dst``, which appears whole or not at all.

    Raises RuntimeError where the file's SHA-256 does not begin with ``hash_prefix``.
    """
    dst = os.path.expanduser(dst)
    digest = hashlib.sha256()
    handle, part = tempfile.mkstemp(suffix=".part", dir=os.path.dirname(os.path.abspath(dst)))
    try:
        with os.fdopen(handle, "wb") as file, urlopen(Request(url, headers={"User-Agent": "torch.hub"})) as answer:
            total, done = int(answer.headers.get("Content-Length") or 0), 0
            while chunk := answer.read(1 << 17):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                if progress and total and sys.stderr.isatty():
                    print(f"\r{os.path.basename(dst)} {done / total:4.0%}", end="", file=sys.stderr, flush=True)
        if progress and total and sys.stderr.isatty():
            print(file=sys.stderr)
        if hash_prefix is not None and not digest.hexdigest().startswith(hash_prefix):
            raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "{digest.hexdigest()}")')
        os.chmod(part, 0o644)
        os.replace(part, dst)
    finally:
        if os.path.exists(part):
            os.remove(part)


def load_state_dict_from_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True,
                             check_hash: bool = False, file_name: str | None = None, weights_only: bool = False) -> Any:
    """`torch.load` of a file downloaded once into ``model_dir`` (by default ``checkpoints`` in `get_dir`)."""
    import bibun
    folder = os.path.join(get_dir(), "checkpoints") if model_dir is None else model_dir
    os.makedirs(folder, exist_ok=True)
    name = file_name or os.path.basename(urlparse(url).path)
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        print(f'Downloading: "{url}" to {path}\n', end="", file=sys.stderr)
        found = HASH_REGEX.search(name) if check_hash else None
        download_url_to_file(url, path, found[1] if found else None, progress)
    return bibun.load(path, map_location=map_location, weights_only=weights_only)
