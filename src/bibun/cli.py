"""The command line: ``python -m bibun …`` and the console script ``bibun …``.

In comes the command line; what is no command is a program to run (`bibun.runner`). A command is one entry of
`COMMANDS`: the module and the function in it that does the work and gives the exit status, imported only when asked
for, and its line of help.
"""

from __future__ import annotations

import sys

COMMANDS = {
    "run": ("bibun.runner", "run", "run a program on bibun: script.py, folder, file.zip, -, -m module or -c code"),
    "doctor": ("bibun.doctor", "main", "say what bibun finds on this machine, and what is missing"),
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:{width}}  {text}" for name, (_, _, text) in COMMANDS.items())
    return f"""usage: python -m bibun script.py [arguments]    run a PyTorch program on bibun (as python would run it)
       python -m bibun COMMAND [arguments]

commands:
{lines}

options:
  -h, --help     show this
  -V, --version  bibun's version, and the PyTorch release it follows"""


def main(argv: list[str] | None = None) -> int | str | None:
    """Do what the command line says; returns the exit status, or raises what the program it ran raises."""
    arguments = sys.argv[1:] if argv is None else argv
    first = arguments[0] if arguments else "--help"
    if first in COMMANDS:
        module, function, _ = COMMANDS[first]
        return getattr(__import__(module, fromlist=[function]), function)(arguments[1:])
    if first in ("-h", "--help"):
        print(usage())
        return 0
    if first in ("-V", "--version"):
        from .version import __version__, bibun
        print(f"bibun {bibun} (torch {__version__})")
        return 0
    from .runner import run
    return run(arguments)  # type: ignore[func-returns-value]
