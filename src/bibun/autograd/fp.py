"""NumPy's floating-point warnings, switched off around the library's own array work and nowhere else.

NumPy keeps its error state in a context variable. Setting and resetting that variable directly costs a tenth of
``np.errstate`` and leaves the user's own NumPy code its warnings. Cheap exact operations (add, multiply, …), where even
that would be felt, rely on a warnings filter for this package's modules instead.
"""

from __future__ import annotations

import warnings

from numpy._core.umath import _extobj_contextvar, _make_extobj

IGNORE = _make_extobj(all="ignore")

#: ``token = quiet(IGNORE)`` … ``restore(token)``
quiet = _extobj_contextvar.set
restore = _extobj_contextvar.reset

warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"bibun(\.|$)")
