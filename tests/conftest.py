"""Programs run twice, under bibun and under PyTorch, and compared statement by statement."""

import ast
import os
import re
import sys
import warnings

import pytest
from hypothesis import settings

if os.environ.get("PYTEST_XDIST_WORKER"):  # beside each other, workers of several threads each wait for a free core
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

# The same programs each time, so that a run says something of the change at hand; BIBUN_EXPLORE=1 draws new ones.
settings.register_profile("steady", derandomize=not os.environ.get("BIBUN_EXPLORE"))
settings.load_profile("steady")


def outcomes(torch, program):
    """[(source, what came of it, the comment's word)] of each top-level statement: the repr of its value, or its error.

    A trailing comment ``# type`` says that of an error only the type matters: the words are our own.
    """
    space = {"torch": torch, "nn": torch.nn, "__name__": "__main__"}
    lines = program.split("\n")
    found = []
    for statement in ast.parse(program).body:
        source = ast.get_source_segment(program, statement)
        comment = lines[statement.end_lineno - 1].partition("  # ")[2].strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if isinstance(statement, ast.Expr):
                    said = repr(eval(compile(ast.Expression(statement.value), "program", "eval"), space))
                else:
                    exec(compile(ast.Module([statement], []), "program", "exec"), space)
                    said = ""
        except Exception as error:
            said = type(error).__name__ + (": " + str(error) if comment != "type" else "")
        said = said.replace("bibun.tensor.Tensor", "torch.Tensor").replace("bibun.", "torch.")
        found.append((source, re.sub(r"0x[0-9a-f]+", "0x", said)))
    return found


@pytest.fixture
def same_outcomes():
    """A check that a program's statements give the same under bibun as under PyTorch."""
    torch = pytest.importorskip("torch")

    def check(program):
        import bibun

        assert "torch" in sys.modules
        ours, theirs = outcomes(bibun, program), outcomes(torch, program)
        differing = [
            f">>> {source}\n  ours:   {mine}\n  theirs: {its}"
            for (source, mine), (_, its) in zip(ours, theirs)
            if mine != its
        ]
        assert not differing, "\n" + "\n".join(differing)

    return check
