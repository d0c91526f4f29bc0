"""`vmap`'s own face: what in_dims and out_dims may be, chunks, randomness, trees, what has no values inside."""

from collections import OrderedDict, namedtuple

import pytest

import bibun as torch
from bibun.func import vmap
from bibun.utils import _pytree as pytree

X = torch.arange(12.0).view(3, 4)
Pair = namedtuple("Pair", "a b")


def test_in_dims_must_fit_the_arguments():
    for bad in ([0, 0], {0}, "lol"):
        with pytest.raises(ValueError, match="expected `in_dims` to be int or a"):
            vmap(torch.mul, bad)(X, X)
    for bad in ((0,), (0, 0, 0)):
        with pytest.raises(ValueError, match="not compatible with the structure of `inputs`"):
            vmap(torch.mul, bad)(X, X)
    for bad in (([0],), ((0, 0),)):
        with pytest.raises(ValueError, match="not compatible with the structure of `inputs`"):
            vmap(lambda z: z[0] + z[1], in_dims=bad)([X, X])
    with pytest.raises(ValueError, match="Expected at least one Tensor to vmap over"):
        vmap(torch.sin, (None,))(X)
    assert vmap(lambda z: z[0] + z[1], in_dims=([0, 1],))([X, X.t()]).shape == (3, 4)
    assert vmap(lambda d: d["a"] + d["b"], in_dims=({"b": None, "a": 0},))({"a": X, "b": torch.ones(4)}).shape == (3, 4)


def test_out_dims():
    assert vmap(lambda x: x, out_dims=(1,))(X).shape == (4, 3)
    assert vmap(lambda x: (x, "hello"), out_dims=(1, None))(X)[1] == "hello"
    assert vmap(lambda x: "hello", out_dims=None)(X) == "hello"
    with pytest.raises(ValueError, match="can not return a BatchedTensor when out_dim is None"):
        vmap(lambda x: x, out_dims=None)(X)
    with pytest.raises(ValueError, match="must only return Tensors"):
        vmap(lambda x: "hello")(X)


def test_trees():
    out = vmap(lambda p, d: Pair(OrderedDict(s=p.a + d["x"]), [p.b * 2]))(Pair(X, X), {"x": X})
    assert isinstance(out, Pair) and isinstance(out.a, OrderedDict) and torch.equal(out.a["s"], 2 * X)
    assert torch.equal(out.b[0], 2 * X)


class Box:
    def __init__(self, held, label):
        self.held, self.label = held, label


def test_containers_of_a_program():
    pytree.register_pytree_node(Box, lambda b: ([b.held], b.label), lambda children, label: Box(children[0], label))
    try:
        out = vmap(lambda b: Box(b.held * 2, "out"))(Box(X, "in"))
        assert out.label == "out" and torch.equal(out.held, X * 2)
        leaves, spec = pytree.tree_flatten({"k": Box([1, 2], "z"), "t": (3,)})
        assert leaves == [1, 2, 3] and spec.num_leaves == 3
        back = pytree.tree_unflatten([4, 5, 6], spec)
        assert back["k"].held == [4, 5] and back["t"] == (6,)
        with pytest.raises(ValueError, match="already registered"):
            pytree.register_pytree_node(Box, None, None)
    finally:
        pytree._deregister_pytree_node(Box)
    assert pytree.tree_leaves(Box(1, 2))[0].held == 1


def test_tree_functions():
    assert pytree.tree_map(lambda a, b: a + b, (1, [2]), (10, [20])) == (11, [22])
    assert pytree.tree_map_only(int, lambda a: -a, [1, "x", None]) == [-1, "x", None]
    assert pytree.tree_all(lambda a: a > 0, [1, 2]) and not pytree.tree_any(lambda a: a > 2, [1, 2])
    assert pytree.tree_structure((1, [2])) == pytree.tree_structure((3, [4])) != pytree.tree_structure((1, (2,)))
    with pytest.raises(ValueError, match="has length 1 but the spec refers to a pytree that holds 2"):
        pytree.tree_unflatten([1], pytree.tree_structure((1, 2)))
    with pytest.raises(ValueError, match="arity"):
        pytree.tree_map(lambda a, b: a, (1, 2), (1,))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_chunks_draw_the_same_where_asked(size):
    def f(x):
        return x + torch.rand(4)

    torch.manual_seed(3)
    whole = vmap(f, randomness="same")(X)
    torch.manual_seed(3)
    assert torch.equal(vmap(f, randomness="same", chunk_size=size)(X), whole)
    assert torch.equal(vmap(torch.sin, chunk_size=size, in_dims=1, out_dims=1)(X), X.sin())


def test_permutations_differ_where_asked():
    torch.manual_seed(0)
    drawn = vmap(lambda x: torch.randperm(20), randomness="different")(X)
    assert not torch.equal(drawn[0], drawn[1]) and torch.equal(drawn.sort().values[1], torch.arange(20))
    drawn = vmap(lambda x: torch.randperm(20), randomness="same")(X)
    assert torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize(
    "call, words",
    [
        (torch.nonzero, "dynamic shape"),
        (lambda x: x[x > 2], "dynamic shape"),
        (lambda x: x.item(), "item"),
        (lambda x: 1 if x.sum() > 0 else 2, "data-dependent control flow"),
        (lambda x: x.data, "accessing `data` under vmap"),
        (lambda x: setattr(x, "data", x), "mutating directly with `.data` under vmap"),
        (lambda x: x.is_contiguous(memory_format=torch.channels_last), "is_contiguous inside of vmap for memory_format"),
        (lambda x: x.numpy(), "Cannot access data pointer"),
        (lambda x: torch.equal(x, x), "vmap"),
        (torch.unique, "vmap"),
        (lambda x: x.tolist(), "Cannot access data pointer"),
    ],
)
def test_what_needs_values(call, words):
    with pytest.raises(RuntimeError, match=words):
        vmap(call)(X)


def test_new_tensors_in_the_likeness_of_a_batched_one_are_batched():
    for name, args in (("new_zeros", (2,)), ("new_ones", (2,)), ("new_empty", (2,)), ("new_full", ((2,), 3.0))):
        made = vmap(lambda x, n=name, a=args: getattr(x, n)(*a).copy_(x[:2]))(X)
        assert torch.equal(made, X[:, :2])
    made = vmap(lambda x: x.new_empty_strided((2, 3), (3, 1)).zero_())(X)
    assert made.shape == (3, 2, 3) and made.stride() == (6, 3, 1)
    assert vmap(vmap(lambda x: x.new_zeros(2).copy_(x.expand(2))))(X).shape == (3, 4, 2)


def test_layout_is_that_of_one_example():
    assert vmap(lambda x: torch.tensor(x.is_contiguous()))(X).all()
    assert not vmap(lambda x: torch.tensor(x.is_contiguous()), in_dims=1)(X).any()
    x = torch.randn(3, 4)
    assert vmap(lambda x: x.contiguous())(x) is x or torch.equal(vmap(lambda x: x.contiguous())(x), x)


def test_old_empty_arrays_in_cat():
    x = torch.rand(3, 2, 4)
    assert torch.equal(vmap(lambda a: torch.cat([a, a.new_empty(0)]))(x), x)
    assert torch.equal(vmap(lambda a, b: torch.cat([b, a], 1), in_dims=(0, 1))(x, torch.empty(0, 3)), x)


def test_overwritten_saved_values_are_noticed():
    def f(x):
        y = x * 1
        z = y * y
        y.add_(1)
        return z.sum()

    for transform in (torch.func.grad, torch.func.jacrev, lambda f: vmap(torch.func.grad(f))):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            transform(f)(X)


PRODUCTS = [
    ((3, 4), (4, 2)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (2, 4, 3)), ((4,), (4, 2)), ((2, 3, 4), (4, 3)), ((3, 4), (2, 4, 3)), ((4,), (2, 4, 3)),
    ((2, 3, 4), (4,)), ((3, 4), (5, 2, 4, 3)), ((0, 4), (4, 2)), ((3, 0), (0, 2)), ((3, 0), (0,)), ((3, 4), (4, 0)),
]


@pytest.mark.parametrize("a, b", PRODUCTS)
def test_products_with_the_batch_anywhere(a, b):
    torch.manual_seed(0)
    for i in (None, *range(len(a) + 1)):
        for j in (None, *range(len(b) + 1)):
            if i is None and j is None:
                continue
            x = torch.randn(*a) if i is None else torch.randn(*a[:i], 5, *a[i:])
            y = torch.randn(*b) if j is None else torch.randn(*b[:j], 5, *b[j:])
            each = [(x if i is None else x.select(i, k)) @ (y if j is None else y.select(j, k)) for k in range(5)]
            torch.testing.assert_close(vmap(torch.matmul, in_dims=(i, j))(x, y), torch.stack(each))


def each(f, *args):
    return torch.stack([f(*[a[i] for a in args]) for i in range(len(args[0]))])


F = torch.nn.functional
LABELS = torch.tensor([[1, 2, 3, 0], [3, 3, 0, 1], [0, 2, 2, 2]])
SCORES = torch.rand(3, 4, 5)
SQUARES = torch.rand(3, 4, 4) + 2 * torch.eye(4)
LOOKING = {
    "histc": (lambda a: torch.histc(a, 4, 0, 1), torch.rand(3, 9)),
    "histogram": (lambda a: torch.histogram(a, 4, range=(0.0, 1.0)).hist, torch.rand(3, 9)),
    "bincount": (lambda a: torch.bincount(a, minlength=6), LABELS),
    "matrix_rank": (torch.linalg.matrix_rank, SQUARES),
    "eigvals": (lambda a: torch.linalg.eigvals(a).abs().sort().values, SQUARES),
    "logdet": (torch.logdet, SQUARES),
    "lstsq": (lambda a, b: torch.linalg.lstsq(a, b).solution, SQUARES, SQUARES.mT),
    "ldl_factor": (lambda a: torch.linalg.ldl_factor(a + a.mT).LD, SQUARES),
    "unravel_index": (lambda i: torch.stack(torch.unravel_index(i, (2, 2))), LABELS),
    "linspace": (lambda a: torch.linspace(a, 2.0, 4), torch.rand(3)),
    "embedding_bag": (lambda w, i: F.embedding_bag(i, w, torch.tensor([0, 3])), SCORES, LABELS),
    "embedding_bag with padding": (lambda w, i: F.embedding_bag(i, w, torch.tensor([0, 1]), padding_idx=2, mode="sum"), SCORES, LABELS),
    "multi_margin_loss": (lambda x, t: F.multi_margin_loss(x, t), SCORES, LABELS),
    "multilabel_margin_loss": (lambda x, t: F.multilabel_margin_loss(x, t), SCORES[..., :4], LABELS[:, None].expand(3, 4, 4)),
    "nll_loss": (lambda x, t, w: F.nll_loss(x, t, weight=w, ignore_index=2), SCORES, LABELS, torch.rand(3, 5)),
    "nll_loss summed": (lambda x, t, w: F.nll_loss(x, t, weight=w, reduction="sum"), SCORES, LABELS, torch.rand(3, 5)),
    "ctc_loss": (lambda x, t: F.ctc_loss(x, t, torch.tensor([4, 3]), torch.tensor([2, 1])), SCORES.view(3, 2, 2, 5).repeat(1, 2, 1, 1), LABELS.view(3, 2, 2) + 1),
    "gather at a 0-d place": (lambda x, i: torch.gather(x, 0, i), SCORES[:, 0], LABELS[:, 0]),
    "gather from a 0-d tensor": (lambda x, i: torch.gather(x, 0, i * 0), SCORES[:, 0, 0], LABELS),
    "unfold of a 0-d tensor": (lambda x: x.unfold(0, 1, 1), torch.rand(3)),
    "searchsorted of nothing": (torch.searchsorted, torch.rand(3, 0), torch.rand(3, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOKING)
def test_functions_that_look_at_values_run_on_each_example(name):
    if name == "ldl_factor":
        pytest.importorskip("scipy")
    f, *args = LOOKING[name]
    torch.testing.assert_close(vmap(f)(*args), each(f, *args))
    if args[0].is_floating_point() and name not in ("histc", "histogram", "linspace", "matrix_rank", "ldl_factor", "searchsorted of nothing"):
        g = torch.func.grad(lambda *a: f(*a).sin().sum())
        torch.testing.assert_close(vmap(g)(*args), each(g, *args), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_strides_of_memory(dim):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5)
    places = x.movedim(dim, 0)
    own = [torch.as_strided(x, (2, 2), (1, 2), p.storage_offset()) for p in places]
    torch.testing.assert_close(vmap(lambda t: t.as_strided((2, 2), (1, 2)), in_dims=dim)(x), torch.stack(own))
    grads = vmap(torch.func.grad(lambda t: t.unfold(0, 2, 1).sin().sum()), in_dims=dim)(x)
    torch.testing.assert_close(grads, torch.stack([torch.func.grad(lambda t: t.unfold(0, 2, 1).sin().sum())(p) for p in places]))


REFUSED = {
    "mm": (lambda x: torch.mm(x, torch.ones(2, 2)), "Shape mismatch: Got incorrect dims for mm"),
    "mv": (lambda x: torch.mv(x, x), "Shape mismatch: Got incorrect dims for mv"),
    "bmm": (lambda x: torch.bmm(x, x), "Shape mismatch: Got incorrect dims for bmm"),
    "as_strided": (lambda x: x.as_strided((1,), (1, 1)), "size and stride must have the same length"),
    "clone": (lambda x: x.clone(memory_format=torch.channels_last), "only supported with memory_format torch.preserve_format"),
    "contiguous": (lambda x: x.contiguous(memory_format=torch.channels_last), "NYI: querying is_contiguous inside of vmap"),
    "squeeze": (lambda x: x[0].squeeze(1), "Dimension is out of range"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_speak_of_the_batch(name):
    f, words = REFUSED[name]
    with pytest.raises(RuntimeError, match=words):
        vmap(f)(X)


def test_views_of_examples_are_views():
    x = torch.randn(3)
    assert vmap(lambda t: t.transpose(0, -1))(x) is x
    pairs = torch.randn(5, 2)
    seen = vmap(torch.view_as_complex, in_dims=1)(pairs.transpose(0, 1))
    seen.mul_(2)
    assert seen._base is not None and torch.equal(torch.view_as_complex(pairs), seen)
    with pytest.raises(RuntimeError, match="last dimension with stride 1"):
        vmap(torch.view_as_complex, in_dims=1)(torch.randn(2, 5))


def test_strides_stay_in_an_example():
    for size, stride, offset in (((4,), (1,), 1), ((2, 3), (4, 1), None), ((1,), (1,), -1)):
        with pytest.raises(RuntimeError, match="not supported inside of vmap"):
            vmap(lambda t, a=(size, stride, offset): t.as_strided(*a))(X)
    assert torch.equal(vmap(lambda t: t.as_strided((3,), (1,), 1))(X), X[:, 1:])
