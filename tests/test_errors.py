"""The shared wordings: PyTorch's types and first lines, on shapes and dimensions drawn at random."""

import itertools
import random

import pytest

from bibun import errors


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def failure(call, *args):
    try:
        return call(*args)
    except Exception as error:
        return type(error).__name__, str(error).split("\n")[0]


def test_dimensions(torch):
    for ndim, dim in itertools.product(range(4), range(-6, 6)):
        x = torch.ones((2,) * ndim)

        def theirs(x=x, ndim=ndim, dim=dim):
            x.squeeze(dim)  # complains of a dimension out of range as all functions do
            return dim % max(ndim, 1)

        assert failure(errors.normalize_dim, dim, ndim) == failure(theirs)
    assert errors.normalize_dims((0, -1), 3) == (0, 2)
    assert errors.normalize_dims(-1, 3) == (2,)
    with pytest.raises(RuntimeError, match="dim 0 appears multiple times in the list of dims"):
        errors.normalize_dims((0, 1, -2), 2)
    with pytest.raises(TypeError, match="must be int, not str"):
        errors.normalize_dim("a", 2)


def shapes(seed, many):
    rng = random.Random(seed)
    for _ in range(many):
        yield tuple(tuple(rng.choice((0, 1, 1, 2, 3)) for _ in range(rng.randrange(5))) for _ in range(2))


def test_broadcasting(torch):
    seen = 0
    for a, b in shapes(0, 400):
        try:
            torch.ones(a) + torch.ones(b)
        except RuntimeError as error:
            ours = errors.broadcast_error(a, b)
            assert str(ours).split("\n")[0] == str(error)
            seen += 1
    assert seen > 50


def test_expanding(torch):
    seen = 0
    for a, b in shapes(1, 400):
        try:
            torch.ones(a).expand(b)
        except RuntimeError as error:
            ours = str(errors.expand_error(b, a))
            assert ours == str(error) or (len(b) < len(a) and "must be greater or equal to the number of dim" in ours)
            seen += 1
    assert seen > 50


def test_shapes_are_aligned_and_the_fault_marked():
    text = str(errors.broadcast_error((128, 3), (5, 1, 4), ("input", "target")))
    assert text.split("\n")[1:] == ["  input:      128  3", "  target:  5    1  4", "                   ^"]


def test_arguments(torch):
    with pytest.raises(TypeError) as caught:
        torch.sin("a")
    assert str(caught.value) == str(errors.argument_error("sin", "input", 1, "Tensor", "a"))
    with pytest.raises(TypeError) as caught:
        torch.sin(input=3)
    assert str(caught.value) == str(errors.argument_error("sin", "input", None, "Tensor", 3))
    assert str(errors.combination_error("f", (1, "a"), {"b": 2.0}, ["int x"])) == (
        "f() received an invalid combination of arguments - got (int, str, b=float), but expected one of:\n * (int x)\n"
    )


def test_missing_extras_name_the_command():
    with pytest.raises(ModuleNotFoundError, match=r'torch.x needs bibun_nowhere.*pip install "bibun\[all\]"') as caught:
        errors.require("bibun_nowhere.inside", "all", "torch.x")
    assert caught.value.name == "bibun_nowhere"
    assert errors.require("json", "all", "nothing").loads("3") == 3
