"""Resizing, sampling at grids and fractional pooling beside PyTorch: values, nodes, both derivatives, refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from side_by_side import compare

import bibun

torch = pytest.importorskip("torch")
SIZES = {1: (7,), 2: (5, 6), 3: (3, 4, 5)}
OUT = {1: (9,), 2: (8, 4), 3: (4, 2, 7)}
MODES = [("nearest", r) for r in (1, 2, 3)] + [("nearest-exact", r) for r in (1, 2, 3)] + [("area", r) for r in (1, 2, 3)]
MODES += [("linear", 1), ("bilinear", 2), ("trilinear", 3), ("bicubic", 2)]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(("mode", "rank"), MODES)
@pytest.mark.parametrize("align", [False, True])
def test_interpolate(mode, rank, align):
    if align and not mode.endswith(("linear", "cubic")):
        pytest.skip("no corners to align")
    x = {"gx": drawn(2, 3, *SIZES[rank])}
    more = f", align_corners={align}" if mode.endswith(("linear", "cubic")) else ""
    compare(torch, bibun, x, f"F.interpolate(gx, size={OUT[rank]}, mode='{mode}'{more})")
    for factor in (2.0, 0.7, 1.37):
        compare(torch, bibun, x, f"F.interpolate(gx, scale_factor={factor}, mode='{mode}'{more})")
    compare(torch, bibun, x, f"F.interpolate(gx, scale_factor=1.4, recompute_scale_factor=True, mode='{mode}'{more})")


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(3, 2), (11, 9), (5, 4)])
def test_antialiased(mode, size):
    compare(torch, bibun, {"gx": drawn(2, 3, 9, 8)}, f"F.interpolate(gx, size={size}, mode='{mode}', antialias=True)")


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "lanczos"])
def test_bytes(mode):
    x = {"x": np.random.default_rng(1).integers(0, 256, (2, 3, 13, 17), dtype=np.uint8)}
    for size, wide in itertools.product([(5, 6), (20, 31)], [False, True]):
        if wide and not mode.startswith("nearest") or not wide and mode != "lanczos":
            compare(torch, bibun, x, f"F.interpolate(x, size={size}, mode='{mode}', antialias={wide})")


@pytest.mark.parametrize(
    "call",
    [
        "F.interpolate(x)",
        "F.interpolate(x, size=3, scale_factor=2.0)",
        "F.interpolate(x, size=(3, 4, 5))",
        "F.interpolate(x, scale_factor=(3, 4.0, 5))",
        "F.interpolate(x[0, 0], size=3)",
        "F.interpolate(x, size=3, mode='linear')",
        "F.interpolate(x, size=3, mode='nonsense')",
        "F.interpolate(x, size=3, align_corners=True)",
        "F.interpolate(x, size=3, antialias=True)",
        "F.interpolate(x, size=3, mode='lanczos')",
        "F.interpolate(x, size=3, mode='bilinear', recompute_scale_factor=True)",
        "F.interpolate(x, scale_factor=0.01)",
        "F.interpolate(x, size=(3.5, 2))",
        "F.interpolate(x[:, :0], size=3)",
        "F.interpolate(x[:0], size=3).shape[0] and 0 or F.interpolate(x[:0], size=3)",
        "F.upsample(x, size=3)",
        "F.upsample_bilinear(x, size=3)",
        "F.upsample_nearest(x, scale_factor=2)",
        "F.grid_sample(x, x[..., :2])",
        "F.grid_sample(x, x[:1, 0, :, :2].reshape(1, 5, 1, 2))",
        "F.grid_sample(x, x[..., :3], align_corners=True)",
        "F.grid_sample(x, x[..., :2].float(), align_corners=True)",
        "F.grid_sample(x, x[..., :2], mode='nonsense')",
        "F.grid_sample(x, x[..., :2], padding_mode='nonsense')",
        "F.affine_grid(x[0], (3, 1, 4, 4))",
        "F.affine_grid(x[:1, 0, :2, :3], (1, 1, 4, 0))",
        "F.affine_grid(x[:1, 0, :2, :3], (2, 1, 4, 4))",
        "F.affine_grid(x[:1, 0, :2, :3], (1, 4, 4))",
        "F.fractional_max_pool2d(x, 3)",
        "F.fractional_max_pool2d(x, 3, output_size=5)",
        "F.fractional_max_pool2d(x, (3, 2, 2), output_size=2)",
        "F.fractional_max_pool2d(x, 2, output_size=2, _random_samples=x[:, :, 0, :1])",
    ],
)
def test_edges(call):
    compare(torch, bibun, {"x": drawn(2, 3, 5, 6)}, call)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(("mode", "rank"), [("bilinear", 2), ("nearest", 2), ("bicubic", 2), ("bilinear", 3), ("nearest", 3)])
@pytest.mark.parametrize("align", [False, True])
def test_grid_sample(mode, rank, padding, align):
    arrays = {"gx": drawn(2, 3, *SIZES[rank]), "gg": drawn(2, *OUT[rank], rank, seed=1) * 1.2}
    compare(
        torch, bibun, arrays, f"F.grid_sample(gx, gg, mode='{mode}', padding_mode='{padding}', align_corners={align})", tolerance=1e-8
    )


def test_grid_sample_third_order():
    """The weights' derivatives of any order: gradients of gradients of gradients, by numbers."""
    x = bibun.tensor(drawn(1, 1, 4, 4))
    grid = bibun.tensor(drawn(1, 2, 2, 2, seed=3) * 0.5, requires_grad=True)

    @bibun.enable_grad()
    def second(grid):
        out = bibun.nn.functional.grid_sample(x, grid, mode="bicubic", align_corners=True)
        (first,) = bibun.autograd.grad(out.sum(), grid, create_graph=True)
        return bibun.autograd.grad((first * first).sum(), grid, create_graph=True)[0]

    assert bibun.autograd.gradcheck(second, (grid,))


@pytest.mark.parametrize(("rank", "align"), [(2, False), (2, True), (3, False), (3, True)])
def test_affine_grid(rank, align):
    size = (2, 1, 3, 4, 5)[: rank + 2]
    compare(torch, bibun, {"gt": drawn(2, rank, rank + 1)}, f"F.affine_grid(gt, {size}, align_corners={align})")


@pytest.mark.parametrize("rank", [2, 3])
def test_fractional(rank):
    x = drawn(2, 3, *(9, 8, 7)[:rank])
    samples = np.random.default_rng(5).random((2, 3, rank))
    call = f"F.fractional_max_pool{rank}d(gx, 2, output_size={(4, 5, 3)[:rank]}, _random_samples=s, return_indices=True)"
    compare(torch, bibun, {"gx": x, "s": samples}, call)
    drawn_too = f"(torch.manual_seed(3), F.fractional_max_pool{rank}d(gx, (3, 2, 2)[:{rank}], output_ratio=(0.5, 0.4, 0.5)[:{rank}]))[1]"
    compare(torch, bibun, {"gx": x}, drawn_too)


def test_batched():
    F, x, grid = bibun.nn.functional, bibun.tensor(drawn(4, 2, 3, 5, 6)), bibun.tensor(drawn(4, 2, 3, 3, 2, seed=2))

    def sampled(x, g):
        return F.grid_sample(x, g, align_corners=False)

    for f, args in (
        (sampled, (x, grid)),
        (lambda x: F.interpolate(x, size=(3, 9), mode="bicubic"), (x,)),
        (bibun.func.grad(lambda x, g: sampled(x, g).square().sum(), (0, 1)), (x, grid)),
    ):
        have, want = bibun.vmap(f)(*args), [f(*each) for each in zip(*args)]
        for h, w in zip(have if isinstance(have, tuple) else [have], zip(*want) if isinstance(have, tuple) else [want]):
            assert bibun.allclose(h, bibun.stack(list(w)))
