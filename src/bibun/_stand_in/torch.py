"""What ``import torch`` finds in the child processes of an aliased program: it installs the alias there too.

`bibun.alias` puts this file's folder, which holds nothing else, on the children's ``PYTHONPATH``. An interpreter that
cannot import bibun (a child may run another Python) gets whatever torch it has of its own.
"""

import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
try:
    from bibun import alias as _alias
except ImportError:
    import importlib

    sys.path[:] = [_p for _p in sys.path if os.path.abspath(_p) != _here]
    del sys.modules["torch"]
    importlib.import_module("torch")
else:
    del sys.modules["torch"]
    _alias.install()
    import torch  # bibun: importlib hands on what it now finds in sys.modules  # noqa: F401
