"""CUDA graphs: what a function asks of a GPU, written down once and then asked for as one.

An update asks for some 600 kernels and an acting step for 50, each at some microseconds of the
host and of Python's lock; a graph of them costs as much as one kernel.

A graph does the same things to the same memory. So what it is given is copied into tensors of its
own, and what it returns is overwritten by the next call. What the host decided or computed when the
graph was made stays as it was then.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

EAGER_CALLS = 3
"""Before a graph is made: in them optimizers make their state, and cuDNN chooses its algorithms."""

_log = logging.getLogger(__name__)
_one_at_a_time = threading.Lock()
"""To begin a graph waits for the device, which must not be making another one."""

Given = TypeVar("Given", bound=tuple[Any, ...])
Found = TypeVar("Found")


class Graphed(Generic[Given, Found]):
    """A function of tensors on a GPU; from its fourth call on it is a graph.

    Where no graph can be made, which is logged once, the function is called as ever.

    Args:
      function: takes a record of tensors, of the same shapes each time, and returns tensors. It
        waits for nothing, and changes nothing but tensors in place.
      generator: that it draws from.
      name: of what it does, for the log.
    """

    def __init__(
        self, function: Callable[[Given], Found], generator: torch.Generator, name: str
    ) -> None:
        self._function = function
        self._generator = generator
        self._name = name
        self._eager_calls = EAGER_CALLS
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream: torch.cuda.Stream | None = None
        self._given: list[Tensor] = []
        self._found: Found

    @property
    def is_graph(self) -> bool:
        """Whether a graph was made."""
        return self._graph is not None

    def __call__(self, given: Given) -> Found:
        """What the function returns; a graph overwrites it at the next call."""
        if self._graph is None and self._eager_calls == 0:
            self._make_graph(given)
        if self._graph is None:
            self._eager_calls -= 1  # below 0: no graph could be made
            with self._aside():
                return self._function(given)
        torch._foreach_copy_(self._given, list(_tensors(given)))
        self._graph.replay()
        return self._found

    def _make_graph(self, given: Given) -> None:
        """Writes the function down; nothing is computed yet."""
        own = _copied(given)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        before = self._generator.clone_state()
        try:
            # Other threads work on: only what this one does is written down, or a mistake.
            with (
                _one_at_a_time,
                self._aside() as stream,
                torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
            ):
                self._found = self._function(own)
        except RuntimeError as error:
            self._generator.graphsafe_set_state(before)  # the other waits for the graph's end
            # Where a kernel was refused, so is the end, which says nothing of why.
            reason = str(error.__context__ or error).partition("\n")[0]
            _log.warning("%s is no CUDA graph, its kernels go one by one: %s", self._name, reason)
            return
        self._graph, self._given = graph, list(_tensors(own))

    @contextmanager
    def _aside(self) -> Iterator[torch.cuda.Stream]:
        """On a stream that no other thread uses, after what was asked for and before what will be.

        An actor has one already; of the default stream's thread, the learner's, one is made.
        There the calls before a graph are made, too: what autograd or a library first did on
        another stream would not go into the graph. [PyTorch's notes on CUDA: "warmup must occur on
        a side stream"] It is left by this block's end only: `torch.cuda.graph`, where it fails,
        stays on it.
        """
        here = torch.cuda.current_stream()
        if self._stream is None:
            shared = here == torch.cuda.default_stream()
            self._stream = torch.cuda.Stream() if shared else here
        stream = self._stream
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            yield stream
        here.wait_stream(stream)


def _tensors(record: Any) -> Iterator[Tensor]:
    """Those of a record and of the records in it."""
    for part in record:
        if isinstance(part, Tensor):
            yield part
        elif part is not None:
            yield from _tensors(part)


def _copied(record: Any) -> Any:
    """The same record, of copies."""
    if isinstance(record, tuple):
        return type(record)(*map(_copied, record))
    return None if record is None else record.clone()
