"""A sample of every native kernel and of fused loops, in bits and digests: run as a program, it prints what each comes to.

``python native_sample.py FILE`` keeps the arrays in FILE (npz).
"""

import sys

import numpy as np

import bibun as torch
from bibun.nn import functional as F


def learn(made, *leaves):
    """A result and its gradients for a fixed direction."""
    w = torch.linspace(-1, 1, made.numel()).reshape(made.shape)
    return [made, *torch.autograd.grad((made * w).sum(), leaves)]


def sample():
    """{name: arrays}."""
    torch.manual_seed(3)
    torch.set_grad_enabled(True)
    made = {}

    def leaf(*shape):
        return torch.randn(*shape).requires_grad_()

    x, y = leaf(67, 521), leaf(67, 521)
    for name in "tanh sigmoid exp sin cos erf erfc expm1".split():
        made[name] = learn(getattr(torch, name)(x), x)
    for name in "log log1p sqrt rsqrt".split():
        made[name] = learn(getattr(torch, name)(x.abs() + 0.1), x)
    for name in "gelu silu softplus elu mish relu hardswish logsigmoid".split():
        made[name] = learn(getattr(F, name)(x), x)
    made["chain"] = learn((x * y + 1.5).tanh() / (1 + y * y), x, y)
    made["broadcast"] = learn(x * y[:1] + y[:, :1], x, y)
    made["sums"] = [(x * y).sum(), (x * y).sum(0), (x * y).sum(1), x.mean(), x.var(1)]
    for name in ("softmax", "log_softmax"):
        made[name] = learn(getattr(F, name)(x, -1), x)
    made["cross_entropy"] = learn(F.cross_entropy(x, torch.arange(67) * 7).reshape(1), x)
    made["draws"] = [torch.rand(30_000), torch.randn(30_000), torch.empty(30_000, dtype=torch.float64).normal_(), torch.randperm(30_000), torch.randint(0, 9, (30_000,))]
    made["cross_entropy_smooth"] = learn(F.cross_entropy(x, torch.arange(67) * 7, label_smoothing=0.1).reshape(1), x)


    @torch.compile
    def step():
        x.grad = None
        loss = F.cross_entropy(x, torch.arange(67) * 7)
        loss.backward()
        return loss.detach()

    for _ in range(3):
        made["cross_entropy_compiled"] = [step(), x.grad]
    x.grad = None
    w, b = leaf(521), leaf(521)
    made["layer_norm"] = learn(F.layer_norm(x, (521,), w, b), x, w, b)
    made["rms_norm"] = learn(F.rms_norm(x, (521,), w), x, w)
    made["batch_norm_columns"] = learn(F.batch_norm(x, None, None, w, b, training=True), x, w, b)
    made["softmax_columns"], made["log_softmax_columns"] = learn(F.softmax(x, 0), x), learn(F.log_softmax(x, 0), x)
    line = torch.arange(35_000).float() * 0.7 - 9000
    made["left"] = [line.remainder(0.3), line.fmod(0.3), line // 0.3, line.remainder(1e-8)]
    made["casts"] = [line.int(), line.long().float(), line.int().to(torch.uint8).int(), line.double().bool().int()]
    where = torch.arange(67 * 90).reshape(67, 90) * 29 % 521
    made["along"] = [x.gather(1, where), x.scatter(1, where[:, :40] // 90 * 90, 2.0), x.scatter_add(1, where, y[:, :90]), x.tril(3)]
    made["places"] = [torch.searchsorted(torch.arange(500.0), line), *line.reshape(350, 100).remainder(7).cummax(1)]
    made["sort"], made["topk"] = x.sort(1, descending=True).values, x.topk(9).values
    made["cat"] = learn(torch.cat([x, y, x], 1), x, y)
    made["running"] = torch.stack([x.cumsum(0), x.cumsum(1)])
    made["normal"] = torch.randn(40000)
    made["column_sums"] = x.sum(0)
    made["column_extremes"] = torch.stack([x.amax(0), x.amin(0)])
    image, gain, shift = leaf(3, 12, 37, 41), leaf(12), leaf(12)
    made["batch_norm"] = learn(F.batch_norm(image, None, None, gain, shift, training=True), image, gain, shift)
    made["group_norm"] = learn(F.group_norm(image, 4, gain, shift), image, gain, shift)
    made["max_pool"] = learn(F.max_pool2d(image, 3, 2, 1), image)
    made["avg_pool"] = learn(F.avg_pool2d(image, 3, 2, 1), image)
    for name, size, options in (("3", 3, {"padding": 1}), ("5", 5, {"stride": 2}), ("1", 1, {})):
        k, bias = leaf(20, 12, size, size), leaf(20)
        made["conv" + name] = learn(F.conv2d(image, k, bias, **options), image, k, bias)
    deep, k, bias = leaf(2, 60, 31, 30), leaf(63, 60, 3, 3), leaf(63)
    made["conv_deep"] = learn(F.conv2d(deep, k, bias, padding=1), deep, k, bias)
    k = leaf(60, 1, 3, 3)
    made["conv_each_channel"] = learn(F.conv2d(deep, k, padding=1, groups=60), deep, k)
    grey, k = leaf(4, 1, 37, 41), leaf(8, 1, 5, 5)
    made["conv_one_channel"] = learn(F.conv2d(grey, k), k)
    a, c = leaf(131, 257), leaf(257, 190)
    made["matmul"] = learn(a @ c, a, c)
    bias = leaf(190)
    made["linear"] = learn(F.linear(a, c.mT, bias), a, c, bias)
    wide, w, bias = leaf(600, 131), leaf(257, 131), leaf(257)
    made["layer"] = learn(F.linear(wide, w, bias).square(), wide, w, bias)
    stack, other = leaf(6, 70, 65), leaf(6, 65, 77)
    made["bmm"] = learn(stack @ other, stack, other)
    q, k, v = (leaf(2, 3, 129, 32) for _ in range(3))
    made["attention"] = learn(F.scaled_dot_product_attention(q, k, v, is_causal=True), q, k, v)
    table = leaf(700, 33)
    made["embedding"] = learn(F.embedding(torch.arange(1400).reshape(7, 200) * 13 % 700, table), table)
    speech = leaf(18, 6, 9)
    made["ctc"] = learn(F.ctc_loss(speech.log_softmax(2), torch.arange(1, 43).reshape(6, 7) % 8 + 1, torch.full((6,), 18), torch.arange(2, 8), reduction="none"), speech)
    for name in "SGD Adam AdamW RMSprop Adagrad".split():
        p = torch.nn.Parameter(torch.linspace(-2, 2, 40_001))
        optimizer = getattr(torch.optim, name)([p], lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            (p * p).sum().backward()
            optimizer.step()
        made[name] = [p]
    return {name: [t.detach().numpy() for t in tensors] for name, tensors in made.items()}


def kernels():
    """Every `Kernel` that was imported, and whether it was made for something."""
    from bibun.native.kernel import Kernel

    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("bibun.native."):
            for k in vars(module).values():
                if isinstance(k, Kernel):
                    found[f"{k.device.python.__module__}.{k.__name__}"] = bool(k.made)
    return found


if __name__ == "__main__":
    arrays = sample()
    np.savez(sys.argv[1], **{f"{name}.{i}": a for name, given in arrays.items() for i, a in enumerate(given)})
    if len(sys.argv) > 2:
        print(*sorted(name for name, made in kernels().items() if not made))
