"""Calls of small tensors that take a short way: results, graphs and errors are those of the long one."""

import pytest

import bibun

torch = pytest.importorskip("torch")


def values(m, names):
    x = m.tensor([[1.0, -2.0, 3.0], [0.5, -0.25, 0.0]], requires_grad=True)
    found = {"x": x, "y": m.full((2, 3), 0.5, requires_grad=True), "row": m.tensor([1.0, 2.0, 3.0], requires_grad=True),
             "mask": x.detach() > 0, "double": m.ones(2, 3, dtype=m.float64), "half": m.ones(2, 3, dtype=m.float16),
             "i": m.tensor([[1, -2, 3], [4, 0, 6]]), "j": m.tensor([[2, 2, 2], [3, 3, 3]])}
    return [found[n] for n in names.split()]


CASES = [
    ("x y", lambda m, x, y: m.where(x > 0, x, y)), ("x", lambda m, x: m.where(x > 0, 0.0, x)), ("x row", lambda m, x, r: m.where(x > 0, x, r)),
    ("x double", lambda m, x, y: m.where(x > 0, x, y)), ("x y", lambda m, x, y: m.add(x, y, alpha=2)), ("x row", lambda m, x, y: m.sub(x, y, alpha=2)),
    ("x y row", lambda m, x, y, r: m.addcmul(x, y, r, value=2)), ("x y", lambda m, x, y: m.addcmul(x, y, y)), ("x y", lambda m, x, y: m.lerp(x, y, 0.25)),
    ("x", lambda m, x: m.nn.functional.elu(x, 0.5)), ("half", lambda m, x: m.nn.functional.softplus(x)), ("x", lambda m, x: m.nn.functional.hardtanh(x)),
    ("x", lambda m, x: m.nn.functional.leaky_relu(x * 1, 0.1, inplace=True)), ("x", lambda m, x: m.nn.functional.log_softmax(x, -2)),
    ("i j", lambda m, i, j: i * j), ("i j", lambda m, i, j: i // j), ("i", lambda m, i: i + 1), ("i", lambda m, i: i + 1.5), ("i mask", lambda m, i, b: i + b),
    ("mask", lambda m, b: ~b), ("mask", lambda m, b: b & b), ("mask", lambda m, b: -b), ("i", lambda m, i: i // 0), ("i", lambda m, i: -i),
    ("mask", lambda m, b: b - b), ("i j", lambda m, i, j: i == j), ("i j", lambda m, i, j: m.logical_and(i, j)), ("i", lambda m, i: i ** 2),
    ("x y", lambda m, x, y: m.nn.functional.elu(x, "1")),
]


@pytest.mark.parametrize(("names", "call"), CASES)
def test_as_the_long_way(names, call):
    made = []
    for m in (torch, bibun):
        operands = values(m, names)
        try:
            out = call(m, *operands)
        except Exception as error:
            made.append(type(error))
            continue
        if out.requires_grad:
            out.sum().backward()
        made.append((out.dtype.__repr__(), out.tolist(), type(out.grad_fn).__name__.rstrip("01"), [None if t.grad is None else t.grad.tolist() for t in operands]))
    theirs, ours = made
    if isinstance(theirs, type):
        assert isinstance(ours, type) and (issubclass(ours, theirs) or issubclass(theirs, ours))
        return
    assert ours[0] == theirs[0] and ours[2] == theirs[2]
    bibun.testing.assert_close(bibun.tensor(ours[1]), bibun.tensor(theirs[1]))
    for a, b in zip(ours[3], theirs[3]):
        assert (a is None) == (b is None) and (a is None or bibun.allclose(bibun.tensor(a), bibun.tensor(b)))


WRITES = [
    lambda m, x, y: x.zero_(), lambda m, x, y: x.fill_(0.5), lambda m, x, y: x.fill_(2), lambda m, x, y: x.copy_(y), lambda m, x, y: x.copy_(y[0]),
    lambda m, x, y: x.exp_(), lambda m, x, y: x.neg_(), lambda m, x, y: x.relu_(), lambda m, x, y: x.sub_(y, alpha=0.5), lambda m, x, y: x.clamp_(-1, 1),
    lambda m, x, y: x.lerp_(y, 0.25), lambda m, x, y: x.add_(y), lambda m, x, y: x.mul_(2), lambda m, x, y: x.masked_fill_(y > 0, 3.0), lambda m, x, y: x.add_(y.sum()),
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("kind", ["plain", "view", "column", "recorded", "view of recorded", "leaf", "leaf under no_grad", "expanded", "from recorded"])
def test_writes_as_the_long_way(write, kind):
    """Values, version, gradients and refusals of in-place calls, whatever the tensor is."""
    if kind == "expanded" and write is WRITES[13]:
        pytest.skip("PyTorch warns and writes")
    made = []
    for m in (torch, bibun):
        base = m.tensor([[1.0, -2.0, 3.0], [0.5, -0.25, 0.0]], requires_grad="recorded" in kind or "leaf" in kind)
        y = m.tensor([[0.5, 1.0, -1.0], [2.0, 0.25, 0.125]], requires_grad=kind == "from recorded")
        x = {"plain": base, "view": base[:], "column": base.T, "leaf": base, "leaf under no_grad": base, "expanded": base[:1].expand(2, 3)}.get(kind)
        if x is None:
            x = base.detach().clone() if kind == "from recorded" else base * 2 if kind == "recorded" else (base * 2)[:]
        y = y.T if kind == "column" else y
        try:
            with m.set_grad_enabled(kind != "leaf under no_grad"):
                out = write(m, x, y)
        except RuntimeError as error:
            made.append(type(error))
            continue
        assert out is x
        if x.requires_grad and kind != "leaf under no_grad":
            x.sum().backward()
        made.append((x.tolist(), x._version, [None if t.grad is None else t.grad.tolist() for t in (base, y) if t.is_leaf]))
    if isinstance(made[0], type) or isinstance(made[1], type):
        assert made[0] == made[1]
        return
    bibun.testing.assert_close(bibun.tensor(made[1][0]), bibun.tensor(made[0][0]))
    assert made[1][1] == made[0][1]
    for a, b in zip(made[1][2], made[0][2]):
        assert (a is None) == (b is None) and (a is None or bibun.allclose(bibun.tensor(a), bibun.tensor(b)))


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0, 3), (3, 1, 2)])
def test_data_is_the_same_memory_with_a_version_of_its_own(shape):
    for dtype in (bibun.float32, bibun.int64, bibun.bfloat16, bibun.bool):
        x = bibun.zeros(shape, dtype=dtype)
        d = x.data
        assert d.stride() == x.stride() and d.dtype is dtype and d.data_ptr() == x.data_ptr()
        d.fill_(1)
        assert bool((x == 1).all()) and x._version == 0
    turned = bibun.zeros(2, 3).t()
    assert turned.data.stride() == turned.stride()


KEYS = [lambda m, i, b: (1, 2), lambda m, i, b: (slice(None), -1), lambda m, i, b: None, lambda m, i, b: (..., 1), lambda m, i, b: (1, None, slice(1, 3)),
        lambda m, i, b: (slice(0, 3, 2), slice(1, 4)), lambda m, i, b: (..., None), lambda m, i, b: (None, ..., 0, None), lambda m, i, b: (slice(None), slice(None)),
        lambda m, i, b: (3, 9), lambda m, i, b: (0, 0, 0), lambda m, i, b: (slice(m.tensor(1), 3), 0), lambda m, i, b: b, lambda m, i, b: b[:, 0], lambda m, i, b: b[:2],
        lambda m, i, b: (i, i), lambda m, i, b: (i, i + 9), lambda m, i, b: (i, 1), lambda m, i, b: (slice(None), i), lambda m, i, b: (1, i), lambda m, i, b: (b[:, 0], i[:1])]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("recorded", [False, True])
def test_keys(key, recorded):
    made = []
    for m in (torch, bibun):
        x = (m.arange(20.0).reshape(4, 5) / 7).requires_grad_(recorded)
        y = x * 1
        k = key(m, m.tensor([1, 0, 3]), x.detach() > 1)
        try:
            out = y[k]
        except Exception as error:
            made.append(type(error))
            continue
        chain, node = [], out.grad_fn
        while node is not None and node.next_functions:
            chain.append(type(node).__name__)
            node = node.next_functions[0][0]
        if recorded:
            out.sum().backward()
        z = m.zeros(4, 5)
        z[k] = 3
        w = m.arange(20).reshape(4, 5)
        w[k] = 7
        made.append((out.tolist(), out.shape, out.stride(), out._is_view(), chain, x.grad.tolist() if recorded else None, z.tolist(), w.tolist(), z._version))
    if isinstance(made[0], type):
        assert issubclass(made[1], made[0])
    else:
        theirs, ours = made
        assert ours[1:5] == theirs[1:5] and ours[5:] == theirs[5:]
        assert bibun.allclose(bibun.tensor(ours[0]), bibun.tensor(theirs[0]))


def test_a_write_reaches_a_view_of_views():
    base = bibun.arange(6.0).reshape(2, 3).requires_grad_() * 1
    part = base[1, 0:2]
    base.mul_(2)
    assert part.tolist() == [6.0, 8.0] and part.requires_grad
    part.sum().backward()
    with bibun.no_grad():
        assert base[1, 2].grad_fn is None


@pytest.mark.parametrize("recorded", [False, True])
def test_pooling_of_small_images(recorded):
    for values in ([[1.0, 5.0, 2.0, 2.0], [3.0, 5.0, 2.0, 2.0]], [[1.0, float("nan"), 2.0, 2.0], [3.0, 5.0, float("-inf"), 2.0]]):
        made = []
        for m in (torch, bibun):
            x = m.tensor([values], requires_grad=recorded)
            out = m.nn.functional.max_pool2d(x, 2)
            if recorded:
                out.sum().backward()
            made.append((str(out.tolist()), x.grad.tolist() if recorded else None))
        assert made[0] == made[1]
