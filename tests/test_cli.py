"""The runner against ``python`` itself: the same program must give the same output, traceback and exit status."""

from __future__ import annotations

import os
import py_compile
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import bibun

SRC = str(Path(bibun.__file__).parents[1])
ENV = {**os.environ, "PYTHONPATH": SRC, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}
#: What a program knows about itself. The alias puts its folder on sys.path behind the first entry: that is all that differs.
ABOUT = """
import sys
known = {k: (type(v).__name__ if k in ("__builtins__", "__loader__") else v) for k, v in globals().items() if k.startswith("__")}
known["__spec__"] = __spec__ and (__spec__.name, __spec__.origin)
print(sorted(known.items(), key=str), __name__, sys.argv, sys.path[0])
print(sys.modules["__main__"].__dict__ is globals())
"""


def shell(cwd: Path, *arguments: str, bibun: bool, stdin: str | None = None, flags: tuple[str, ...] = ()) -> tuple[int, str, str]:
    command = [sys.executable, *flags, *(["-m", "bibun"] if bibun else []), *arguments]
    done = subprocess.run(command, cwd=cwd, env=ENV, input=stdin, capture_output=True, encoding="utf-8", timeout=60)
    return done.returncode, done.stdout, done.stderr


def same(cwd: Path, *arguments: str, **options: object) -> tuple[int, str, str]:
    """Run under both, compare everything; what came out is returned."""
    theirs = shell(cwd, *arguments, bibun=False, **options)  # type: ignore[arg-type]
    ours = shell(cwd, *arguments, bibun=True, **options)  # type: ignore[arg-type]
    assert ours == theirs
    return ours


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "about.py").write_text(ABOUT)
    (tmp_path / "sub").mkdir()
    return tmp_path


def test_a_script_is_main(folder: Path) -> None:
    code, out, _ = same(folder, "about.py", "a", "-b", "--help")
    assert code == 0 and "'-b', '--help'" in out


def test_the_way_a_script_is_named(folder: Path) -> None:
    (folder / "sub" / "link.py").symlink_to(folder / "about.py")
    same(folder, "./about.py")
    same(folder / "sub", "../about.py")
    same(folder, "sub/link.py")
    same(folder / "sub", str(folder / "about.py"))


def test_compiled_script(folder: Path) -> None:
    py_compile.compile(str(folder / "about.py"), str(folder / "plain.pyc"))
    same(folder, "plain.pyc", "x")


def test_module(folder: Path) -> None:
    (folder / "sub" / "__init__.py").write_text("")
    (folder / "sub" / "part.py").write_text("from . import __name__ as name\nprint(name)\n" + ABOUT)
    same(folder, "-m", "about", "a")
    same(folder, "-msub.part", "-m")


def test_code(folder: Path) -> None:
    same(folder, "-c", ABOUT, "a", "-c")
    code, _, err = same(folder, "-c", "def f():\n  1/0\nf()") if sys.version_info < (3, 13) else (1, "", "ZeroDivisionError")
    assert code == 1 and "ZeroDivisionError" in err


def test_standard_input(folder: Path) -> None:
    same(folder, "-", "a", stdin=ABOUT)


def test_folder_and_zip(folder: Path) -> None:
    (folder / "sub" / "__main__.py").write_text("import other\n" + ABOUT)
    (folder / "sub" / "other.py").write_text("print('other')")
    with zipfile.ZipFile(folder / "app.zip", "w") as z:
        for name in ("__main__.py", "other.py"):
            z.write(folder / "sub" / name, name)
    same(folder, "sub", "a")
    same(folder, "app.zip", "a")


def test_safe_path(folder: Path) -> None:
    flags = ("-P",)
    theirs, ours = (shell(folder, "about.py", bibun=b, flags=flags) for b in (False, True))
    assert ours[0] == theirs[0] == 0 and str(folder) not in ours[1].rpartition("[")[2]


@pytest.mark.parametrize("ending", [
    "raise SystemExit", "raise SystemExit(7)", "raise SystemExit('words')", "import sys; sys.exit(0)", "import os; os._exit(3)",
    "raise KeyboardInterrupt", "import atexit; atexit.register(print, 'bye'); raise KeyboardInterrupt",
    "try:\n    1/0\nexcept Exception as e:\n    raise ValueError('two') from e",
    "import threading\nthreading.Thread(target=lambda: print('late')).start()",
    "import sys\nsys.excepthook = lambda *a: print(a[0].__name__, a[2].tb_lineno, a[2].tb_next)\n1/0",
    "import atexit, sys\natexit.register(lambda: print(sys.last_value.__traceback__.tb_lineno, sys.last_traceback.tb_lineno))\n1/0",
    "def f():\n    return f.missing\ndef g():\n    f()\ng()", "import json\njson.loads('{')", "x = (1,\n", "print('a'\n  'b' c)",
    "import no_such_module_here", "raise BaseExceptionGroup('g', [ValueError(1), KeyboardInterrupt()])",
    "import runpy\nrunpy.run_path('no such file')",
])
def test_endings(folder: Path, ending: str) -> None:
    (folder / "ends.py").write_text(ending + "\n")
    code, _, err = same(folder, "ends.py")
    assert "runner.py" not in err and "cli.py" not in err
    if "KeyboardInterrupt" in ending and "Group" not in ending:
        assert code == -signal.SIGINT


def test_endings_of_modules_and_folders(folder: Path) -> None:
    (folder / "sub" / "__main__.py").write_text("def f():\n    1/0\nf()\n")
    same(folder, "-m", "sub")
    same(folder, "sub")


def test_interrupt_from_outside(folder: Path) -> None:
    (folder / "sleeps.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(30)\n")
    process = subprocess.Popen([sys.executable, "-m", "bibun", "sleeps.py"], cwd=folder, env=ENV, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, encoding="utf-8",
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # a shell's background job ignores it
    assert process.stdout and process.stdout.readline() == "up\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert re.fullmatch(r'Traceback.*\n  File ".*sleeps.py", line 3, in <module>\n.*\n(.*\n)?KeyboardInterrupt\n', err)


def test_what_cannot_be_run(folder: Path) -> None:
    for arguments, words in {
        ("nope.py",): "can't open file", ("-m",): "argument expected", ("-c",): "argument expected", ("-Z",): "no such option",
        ("run",): "nothing to run",
    }.items():
        code, out, err = shell(folder, *arguments, bibun=True)
        assert (code, out) == (2, "") and words in err and "Traceback" not in err
    same(folder, "-m", "no_such_module")
    same(folder, "sub")  # no __main__ inside
    code, _, err = same(folder, "-m", "json.nothing")
    assert code == 1


def test_pickle_of_a_class_of_the_script(folder: Path) -> None:
    (folder / "classes.py").write_text(
        "import pickle\nclass Point:\n    def __init__(self): self.x = 1\n"
        "print(Point.__module__, pickle.loads(pickle.dumps(Point())).x, pickle.loads(pickle.dumps(Point)) is Point)\n")
    assert same(folder, "classes.py")[1] == "__main__ 1 True\n"


def test_run_is_a_command_too(folder: Path) -> None:
    theirs = shell(folder, "about.py", "a", bibun=False)
    assert shell(folder, "run", "about.py", "a", bibun=True) == theirs
    script = "import sys; from bibun.cli import main; sys.argv[0] = 'bibun'; sys.exit(main())"  # what a console script does
    done = subprocess.run([sys.executable, "-c", script, "run", "about.py", "a"], cwd=folder, env=ENV, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == theirs


def test_help_version_doctor(folder: Path) -> None:
    for arguments in ((), ("-h",), ("--help",)):
        code, out, _ = shell(folder, *arguments, bibun=True)
        assert code == 0 and out.startswith("usage: python -m bibun")
        assert "doctor" in out and "run" in out
    code, out, _ = shell(folder, "--version", bibun=True)
    assert code == 0 and re.fullmatch(r"bibun \d\S* \(torch 2\.13\.0\+bibun\d\S*\)\n", out)
    code, out, _ = shell(folder, "doctor", bibun=True)
    assert code == 0 and "numpy" in out and "bibun[fast]" in out
    assert shell(folder, "doctor", "x", bibun=True)[0] == 2
