"""torch.cuda, torch.mps, torch.accelerator, torch.backends, torch.amp, torch.hub: they answer as a PyTorch without the hardware."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

import bibun
from bibun import amp, hub


def said(function):  # type: ignore[no-untyped-def]
    """What calling gives: the value, or the exception's type and first words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function()
        except Exception as error:
            return type(error)


ASKED = {
    "cuda": """is_available() device_count() is_initialized() manual_seed(0) manual_seed_all(0) manual_seed("x") empty_cache()
        memory_allocated() max_memory_allocated() memory_reserved() memory_stats() current_device() get_device_name()
        get_device_properties(0) get_device_capability() synchronize() current_stream() default_stream() mem_get_info()
        get_rng_state() get_rng_state_all() is_bf16_supported() get_arch_list() Event() CUDAGraph() stream(None).__enter__()
        device(0).__enter__() device("cpu") device(-1).__enter__() FloatTensor(2) initial_seed() ipc_collect() init()
        amp.GradScaler(enabled=False).is_enabled() amp.GradScaler().is_enabled() amp.autocast(enabled=False)._enabled""",
    "mps": "is_available() device_count() manual_seed(1) synchronize() empty_cache() current_allocated_memory()",
    "accelerator": "is_available() device_count() current_accelerator() synchronize() current_device_index() memory_stats()",
    "cpu": "is_available() device_count() current_device() synchronize() is_initialized()",
    "backends": """cudnn.is_available() cudnn.version() cudnn.enabled cudnn.benchmark cudnn.deterministic cudnn.allow_tf32
        cuda.is_built() cuda.matmul.allow_tf32 cuda.flash_sdp_enabled() mps.is_available() mps.is_built() opt_einsum.is_available()
        cuda.matmul.no_such_switch no_such_backend""",
    "amp": """is_autocast_available("cpu") is_autocast_available("cuda") is_autocast_available("x") autocast("x") autocast(5)
        GradScaler().is_enabled() GradScaler("cpu").is_enabled() GradScaler("cpu").get_scale() GradScaler(enabled=False).get_scale()
        autocast("cuda")._enabled autocast("cpu",enabled=False)._enabled""",
}


@pytest.mark.parametrize("where", ASKED)
def test_answers_are_pytorchs(where: str) -> None:
    torch = pytest.importorskip("torch")
    for asked in ASKED[where].split():
        ours, theirs = (said(lambda m=m: eval(f"m.{where}.{asked}", {"m": m})) for m in (bibun, torch))
        if where == "mps" and theirs is RuntimeError:
            assert ours is RuntimeError
        else:
            assert ours == theirs, asked


def test_importable_by_every_name() -> None:
    import bibun.backends.cuda
    import bibun.backends.cudnn as cudnn
    from bibun.amp import GradScaler, autocast  # noqa: F401
    from bibun.cuda.amp import autocast as former
    assert cudnn is bibun.backends.cudnn and issubclass(former, bibun.autocast)


def test_switches_hold_what_they_are_given() -> None:
    cudnn = bibun.backends.cudnn
    with cudnn.flags(enabled=False, benchmark=True):
        assert (cudnn.enabled, cudnn.benchmark) == (False, True)
    assert (cudnn.enabled, cudnn.benchmark) == (True, False)
    cudnn.benchmark = True
    assert bibun.backends.cudnn.benchmark
    cudnn.benchmark = False
    with bibun.backends.cuda.sdp_kernel(enable_flash=False):
        assert not bibun.backends.cuda.flash_sdp_enabled()
    assert bibun.backends.cuda.flash_sdp_enabled()
    with bibun.backends.mkldnn.flags(enabled=True):
        assert bibun.backends.mkldnn.enabled


def test_autocast_keeps_its_books() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with bibun.autocast("cpu", enabled=False):
            assert not bibun.is_autocast_enabled("cpu")
    amp.autocast_mode._said = False
    with pytest.warns(UserWarning, match="full precision"):
        cast = bibun.autocast("cpu", dtype=bibun.bfloat16)
    with cast:
        assert bibun.is_autocast_enabled("cpu") and bibun.get_autocast_dtype("cpu") is bibun.bfloat16
        with bibun.autocast("cpu", enabled=False):
            assert not bibun.is_autocast_enabled("cpu")
        assert bibun.is_autocast_enabled("cpu")
    assert not bibun.is_autocast_enabled("cpu")
    assert cast(bibun.is_autocast_enabled)("cpu")
    with pytest.warns(UserWarning, match="CUDA is not available. Disabling"):
        assert not bibun.autocast("cuda")._enabled
    with pytest.warns(UserWarning, match="target dtype is not supported"):
        bibun.autocast("cpu", dtype=bibun.float64)
    with pytest.warns(FutureWarning, match="deprecated"):
        bibun.cuda.amp.autocast(enabled=False)


def train(torch, scaler_options, losses):  # type: ignore[no-untyped-def]
    """Steps with one scaler; the loss of a step may be made to overflow. What came out, step by step."""
    w = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", **scaler_options)
    seen = []
    for factor in losses:
        optimizer.zero_grad()
        scaler.scale((w * w * factor).sum()).backward()
        scaler.unscale_(optimizer)
        seen.append(w.grad.tolist())
        scaler.step(optimizer)
        scaler.update()
        seen.append((w.tolist(), scaler.get_scale(), scaler.state_dict()["_growth_tracker"]))
    return repr(seen)


def test_scaler_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    options = {"init_scale": 1024.0, "growth_interval": 2}
    losses = [1.0, 1.0, 0.5, float("inf"), 1.0, 1e36, 1.0, 2.0]
    assert train(bibun, options, losses) == train(torch, options, losses)


def test_scaler_by_hand() -> None:
    w = bibun.tensor([2.0], requires_grad=True)
    optimizer = bibun.optim.SGD([w], lr=0.25)
    scaler = bibun.amp.GradScaler("cpu", init_scale=8.0)
    with pytest.raises(AssertionError, match="_scale is None"):
        scaler.step(optimizer)
    loss = scaler.scale((w * w).sum())
    assert loss.item() == 32.0
    loss.backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert w.item() == 1.0
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.step(optimizer)
    scaler.update()
    other = bibun.amp.GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()


def test_hub_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "hubconf.py").write_text("dependencies = ['torch']\nfrom beside import scale\n"
                                         "def ones(n):\n    'n ones'\n    import torch\n    return torch.ones(n) * scale\n")
    (tmp_path / "beside.py").write_text("scale = 3\n")
    program = ("import sys, bibun\nd = sys.argv[1]\nh = bibun.hub\n"
               "print(h.load(d, 'ones', 2, source='local').tolist(), h.help(d, 'ones', source='local'), h.list(d, source='local'))")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout == "[3.0, 3.0] n ones ['ones']\n", done.stderr
    with pytest.raises(RuntimeError, match="clone 'owner/name'"):
        hub.load("owner/name", "model")
    with pytest.raises(ValueError, match="Unknown source"):
        hub.load("x", "y", source="elsewhere")


def test_hub_downloads_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"abc")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *a: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/weights.bin"
            hub.download_url_to_file(url, str(tmp_path / "got"), hash_prefix="ba7816bf", progress=False)
            assert (tmp_path / "got").read_bytes() == b"abc"
            with pytest.raises(RuntimeError, match="invalid hash"):
                hub.download_url_to_file(url, str(tmp_path / "bad"), hash_prefix="00", progress=False)
        finally:
            server.shutdown()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["got", "weights.bin"]
