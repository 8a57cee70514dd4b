"""A CUDA device simulated on the CPU: importing this makes a torch without CUDA believe in one GPU.

Tensors are really on cuda:0: autograd uses its device thread, and what mixes devices or generators
raises. Each kernel is the CPU's, run on copies. `recorded` counts launches, transfers and waits.

It shows no races, nothing of cuDNN but what it demands of its arguments, and no speed.

Import it before torch. The extension is built when it is first asked for, in a minute, into the
user's cache.
"""

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import itertools
import os
import subprocess
import sys
import sysconfig
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from types import ModuleType
from typing import Any

SOURCE = Path(__file__).with_suffix(".cpp")
EXTENSION = "simulated_cuda_extension"
PROJECT = Path(__file__).resolve().parents[2]


def compiler() -> str | None:
    """The C++ compiler, if there is one."""
    return which(os.environ.get("CXX", "g++"))


def built() -> Path:
    """The extension for this source and this torch, built unless the cache has it."""
    versions = f"{importlib.metadata.version('torch')} {sys.version} {compiler()}".encode()
    key = hashlib.sha256(SOURCE.read_bytes() + versions).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "relic-rl"
    library = cache / f"{EXTENSION}-{key}.so"
    if not library.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = library.with_suffix(f".{os.getpid()}")
        torch_dir = _torch_dir()
        include = torch_dir / "include"
        subprocess.run(
            [
                *(compiler() or "g++", "-O1", "-std=c++20", "-fPIC", "-shared", "-w"),
                f"-DTORCH_EXTENSION_NAME={EXTENSION}",
                f"-I{include}",
                f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}",
                f"-I{sysconfig.get_paths()['include']}",
                *(str(SOURCE), "-o", str(unfinished), f"-L{torch_dir / 'lib'}"),
                *("-ltorch", "-ltorch_cpu", "-ltorch_python", "-lc10"),
                f"-Wl,-rpath,{torch_dir / 'lib'}",
            ],
            check=True,
        )
        unfinished.rename(library)
    return library


def _torch_dir() -> Path:
    found = importlib.util.find_spec("torch")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _load() -> ModuleType:
    """Loads the extension before torch asks whether there is CUDA."""
    assert "torch" not in sys.modules, "import simulated_cuda before torch"
    library = built()
    ctypes.CDLL(str(_torch_dir() / "lib" / "libtorch_python.so"), os.RTLD_GLOBAL | os.RTLD_NOW)
    ctypes.CDLL(str(library))
    import torch  # noqa: F401

    spec = importlib.util.spec_from_file_location(EXTENSION, library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_extension = _load()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.modules import rnn  # noqa: E402

DEVICE = torch.device("cuda", 0)
MEMORY_BYTES = 16 * 2**30
BUSY_PERCENT = 37


# --- what is counted ------------------------------------------------------------------------------


@dataclass
class Recorded:
    """What was asked of the device within `recorded`."""

    launches: dict[str, int] = field(default_factory=dict)
    """Kernels by name; the LSTM is one, forward and backward each."""
    transfers: "Counter[str]" = field(default_factory=Counter)
    """Between host and device, waited for or not."""
    waits: "Counter[str]" = field(default_factory=Counter)
    """What the host waited for, and where in the project."""
    moved_bytes: int = 0


@contextmanager
def recorded() -> Iterator[Recorded]:
    """Counts what is asked of the device, in whichever thread."""
    found = Recorded()

    def traffic(what: str, size: int, waits: bool) -> None:
        place = f"{what} at {_project_line()}"
        if what.startswith("to the"):
            found.transfers[place] += 1
            found.moved_bytes += size
        if waits:
            found.waits[place] += 1

    _extension.start(traffic)
    try:
        yield found
    finally:
        found.launches = dict(_extension.stop())


def _project_line() -> str:
    """The innermost line of the project that is being run, or of a test."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.is_relative_to(PROJECT) and path != Path(__file__):
            return f"{path.relative_to(PROJECT)}:{frame.lineno}"
    return f"thread {threading.current_thread().name}"


@contextmanager
def _one_launch(name: str) -> Iterator[None]:
    _extension.enter_one_launch(name)
    try:
        yield
    finally:
        _extension.leave_one_launch()


# --- torch.cuda -----------------------------------------------------------------------------------

_here = threading.local()


_streams = itertools.count()


class Stream:
    """All is in order: a stream is a number, by which a graph knows what belongs to it."""

    def __init__(self, device: object = None, priority: int = 0) -> None:
        self.device, self.priority, self.number = DEVICE, priority, next(_streams)

    def synchronize(self) -> None:
        _extension.waited("stream")

    def wait_stream(self, other: "Stream") -> None:
        pass

    def wait_event(self, event: "Event") -> None:
        pass

    def record_event(self, event: "Event | None" = None) -> "Event":
        return event or Event()


class Event:
    """Passed as soon as it is recorded."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def record(self, stream: Stream | None = None) -> None:
        pass

    def wait(self, stream: Stream | None = None) -> None:
        pass

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        _extension.waited("event")


_DEFAULT_STREAM = Stream()


def current_stream(device: object = None) -> Stream:
    return getattr(_here, "stream", _DEFAULT_STREAM)


def set_stream(on: Stream) -> None:
    _here.stream = on
    _extension.set_stream(on.number)


@contextmanager
def on_stream(on: Stream | None) -> Iterator[None]:
    before = current_stream()
    set_stream(on or before)
    try:
        yield
    finally:
        set_stream(before)


class Graph:
    """Kernels, to be run again on the memory that they were written down with."""

    def __init__(self) -> None:
        self.made = 0

    def register_generator_state(self, generator: torch.Generator) -> None:
        pass

    def replay(self) -> None:
        _extension.replay(self.made)


@contextmanager
def graph(
    to_make: Graph, stream: Stream | None = None, capture_error_mode: str = "global"
) -> Iterator[None]:
    """As torch's: where a kernel was refused, its end fails too, and the thread stays there."""
    before = current_stream()
    set_stream(stream or Stream())
    _extension.begin_graph()
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError("operation failed due to a previous error during capture") from error
    finally:
        to_make.made = _extension.end_graph()
    set_stream(before)


class Properties:
    name = "Simulated GPU"
    total_memory = MEMORY_BYTES
    major, minor = 9, 0


_FAKES: dict[str, Any] = {
    "_lazy_init": lambda: None,
    "_initialized": True,
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "get_device_name": lambda device=None: Properties.name,
    "get_device_capability": lambda device=None: (Properties.major, Properties.minor),
    "get_device_properties": lambda device=None: Properties,
    "is_bf16_supported": lambda *_, **__: True,
    "mem_get_info": lambda device=None: (MEMORY_BYTES, MEMORY_BYTES),
    "max_memory_allocated": lambda device=None: 2**20,
    "utilization": lambda device=None: BUSY_PERCENT,
    "max_memory_reserved": lambda device=None: 0,
    "reset_peak_memory_stats": lambda device=None: None,
    "synchronize": lambda device=None: _extension.waited("device"),
    "Stream": Stream,
    "Event": Event,
    "current_stream": current_stream,
    "default_stream": lambda device=None: _DEFAULT_STREAM,
    "stream": on_stream,
    "CUDAGraph": Graph,
    "graph": graph,
}
for _name, _fake in _FAKES.items():
    setattr(torch.cuda, _name, _fake)
torch.Tensor.record_stream = lambda self, on: None  # type: ignore[method-assign, assignment]


# --- cuDNN's LSTM: one launch, through the CPU's --------------------------------------------------

_cpu_lstm = rnn._VF.lstm


def _launch(name: str, compute: Callable[[], Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """A kernel that the host computes: a graph computes it again, into the same tensors."""
    with _one_launch(name):
        gave = tuple(tensor.detach().to(DEVICE) for tensor in compute())
    mine = [tensor.detach() for tensor in gave]  # a graph keeps no network's backward pass

    def again() -> None:
        found = compute()
        with torch.inference_mode():  # in which an acting step's were made
            for one, tensor in zip(mine, found, strict=True):
                one.copy_(tensor)

    if _extension.is_capturing():
        _extension.write_down(again)
    return gave


class _Lstm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rest: tuple[Any, ...], *given: Tensor) -> tuple[Tensor, ...]:
        kept = ctx.kept = {}  # not ctx, which is part of it
        given = tuple(tensor.detach() for tensor in given)

        def compute() -> Sequence[Tensor]:
            with torch.inference_mode(False), torch.enable_grad():
                host = [tensor.detach().cpu().requires_grad_() for tensor in given]
                with torch.autocast("cpu", enabled=False):
                    outputs = _cpu_lstm(host[0], tuple(host[1:3]), host[3:], *rest)
            kept.update(inputs=host, outputs=outputs)
            return outputs

        return _launch("lstm", compute)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        kept = ctx.kept

        def compute() -> Sequence[Tensor]:
            host = [gradient.cpu() for gradient in gradients]
            return torch.autograd.grad(kept["outputs"], kept["inputs"], host, retain_graph=True)

        return (None, *_launch("lstm backward", compute))


class _Functions:
    """torch._VF, with another LSTM for tensors on the device."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch._VF, name)

    def lstm(self, x: Tensor, state: Any, weights: Any, *rest: Any) -> Any:
        if not x.is_cuda:
            return _cpu_lstm(x, state, weights, *rest)
        given = (x, *state, *weights)
        assert all(tensor.is_cuda for tensor in given), "LSTM: devices differ"
        assert len({tensor.dtype for tensor in given}) == 1, "LSTM: dtypes differ"
        assert all(tensor.is_contiguous() for tensor in state), "LSTM: its state has gaps"
        return _Lstm.apply(rest, *given)


rnn._VF = _Functions()


# --- storages: what torch.save reads, and what copy.deepcopy copies -------------------------------

_storage_cpu, _storage_clone = torch.UntypedStorage.cpu, torch.UntypedStorage.clone


def _to_host(self: torch.UntypedStorage) -> torch.UntypedStorage:
    if self.device.type != "cuda":
        return _storage_cpu(self)
    _extension.waited("storage to the host")
    host = torch.UntypedStorage(self.nbytes())
    if self.nbytes():
        ctypes.memmove(host.data_ptr(), self.data_ptr(), self.nbytes())
    return host


def _clone(self: torch.UntypedStorage) -> torch.UntypedStorage:
    if self.device.type != "cuda":
        return _storage_clone(self)
    whole = torch.empty(0, dtype=torch.uint8, device=DEVICE)
    whole = whole.set_(self, 0, (self.nbytes(),), (1,))
    return whole.clone().untyped_storage()


torch.UntypedStorage.cpu = _to_host  # type: ignore[method-assign]
torch.UntypedStorage.clone = _clone  # type: ignore[method-assign]
