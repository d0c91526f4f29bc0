"""Elementary functions of kernels run on arrays, for the tests that hold them against the true values."""

import numpy as np

from bibun.native import build
from bibun.native.ir import vector
from bibun.native.kernel import builtin, make_entry

_made = {}


def run(library, name, x, lanes=0):
    """A function of ``library`` on an array of its kind, number by number (LLVM may make vectors of them) or on vectors of so many ``lanes``."""
    kind = {"f": "float", "d": "double"}[x.dtype.char]
    key = f"test of {library.__name__} {name} {kind} {lanes} {build.sources()}"
    if key not in _made:

        def write(module):
            def body(f, values, begin, end):
                source, out = values
                source.of = out.of = kind
                t = vector(lanes, kind)
                with f.loop(begin, end, lanes or 1) as i:
                    given = f.load(f.offset(source, i), t)
                    callee = getattr(library, name).make(module, [given], {})
                    f.store(f.call(callee.name, t, given), f.offset(out, i), t)

            make_entry(module, "try_" + name, [("ptr", "x"), ("ptr", "out")], body)

        (at,) = build.load(key, write, ["try_" + name])
        _made[key] = builtin(name, at, ("ptr", "ptr"))
    n, whole = x.size, -(-x.size // (lanes or 1)) * (lanes or 1)
    x, out = np.resize(x, whole), np.empty(whole, x.dtype)
    _made[key](x, out, whole, 1 << 14)
    return out[:n]
