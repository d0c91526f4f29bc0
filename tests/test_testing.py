"""torch.testing beside PyTorch's: what assert_close says, and make_tensor's numbers."""

import warnings

import numpy as np
import pytest

import bibun

torch = pytest.importorskip("torch")

CLOSE = """
a, a
a, b
a, a[:2]
a, a.double()
a, a.double(), check_dtype=False
a, a.int(), check_dtype=False
a, 1.
1., 1.1
1, 1.
1, 2
1., 1.1, rtol=1
1., 1.1, rtol=1e-3, atol=1e-3
nan, nan
nan, nan, equal_nan=True
[a, a], [a, b]
[a], [a, a]
{'x': a, 'y': b}, {'x': a, 'y': a}
{'x': a}, {'y': a}
[a], (a,)
a, [1., 2., 3.]
'a', 'a'
True, False
None, None
None, 1
torch.tensor([1, 2]), torch.tensor([1, 3])
a > 1, a > 2
torch.tensor(1.), torch.tensor(2.)
a + 0j, b + 0j
np.array([1., 2.]), np.array([1., 3.])
np.array([1., 2.]), a[:2]
a, b, msg='hey'
[[a]], [[b]], msg=lambda m: 'X ' + m
torch.zeros(0), torch.zeros(0)
torch.ones(2, 2).t(), torch.ones(2, 2), check_stride=True
torch.nn.Parameter(a), a
torch.nn.Parameter(a), a, allow_subclasses=False
torch.tensor([nan, 1.]), torch.tensor([nan, 1.])
b.bfloat16(), a.bfloat16()
a.half(), b, check_dtype=False
1j, 2j
1 + 0j, 1.
{1: a}, [a]
torch.ones(2, 2), torch.zeros(2, 2)
[1., 'a'], [1., 'a']
torch.tensor([0.]), torch.tensor([1.]), rtol=0, atol=.5
torch.tensor([1, 2], dtype=torch.uint8), torch.tensor([1, 3], dtype=torch.uint8)
np.float64(1), 1.
torch.tensor([True]), torch.tensor([1]), check_dtype=False
1., nan
torch.tensor([[1.]]), torch.tensor([[2.]]), rtol=0, atol=0
[1, [2., {'k': 3.}]], [1, [2., {'k': 4.}]]
np.array(['a']), np.array(['a'])
""".strip().split("\n")

MADE = """
(2, 2), dtype=torch.float32
2, 3, dtype=torch.int64
2, 3, dtype=torch.int64, noncontiguous=True
3, dtype=torch.bool
3, dtype=torch.uint8
3, dtype=torch.complex64
3, dtype=torch.float16, low=0, high=1
3, dtype=torch.float32, low=2, high=1
3, dtype=torch.float32, low=nan, high=1
3, dtype=torch.int32, low=.5, high=1.5
3, dtype=torch.int32, requires_grad=True
2, 2, dtype=torch.float32, noncontiguous=True, requires_grad=True
2, 2, dtype=torch.float32, noncontiguous=True, memory_format=torch.contiguous_format
3, dtype=torch.int32, low=0, high=2, exclude_zero=True
3, dtype=torch.float32, low=1, high=1
(), dtype=torch.float64
3, dtype=torch.bool, low=0, high=1
3, dtype=torch.uint8, low=-5, high=400
3, dtype=torch.int64, low=3, high=3
2, 3, 4, 5, dtype=torch.float32, memory_format=torch.channels_last
3, dtype=torch.bfloat16
3, dtype=torch.float32, low=-inf, high=inf
""".strip().split("\n")


def outcome(module, source):
    module.manual_seed(0)
    a, b = module.tensor([1.0, 2.0, 3.0]), module.tensor([1.0, 2.5, 3.1])
    names = {"torch": module, "np": np, "a": a, "b": b, "nan": float("nan"), "inf": float("inf")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = eval(f"torch.testing.{source}", names)
        except Exception as error:
            return f"{type(error).__name__}: {error}".replace("bibun.nn.", "torch.nn.").replace(
                "bibun.tensor.", "torch."
            )
    return made if made is None else (repr(made), made.stride())


@pytest.mark.parametrize("arguments", CLOSE)
def test_assert_close(arguments):
    source = f"assert_close({arguments})"
    assert outcome(bibun, source) == outcome(torch, source)


@pytest.mark.parametrize("arguments", MADE)
def test_make_tensor(arguments):
    source = f"make_tensor({arguments}, device='cpu')"
    assert outcome(bibun, source) == outcome(torch, source)
