"""Between the host and a GPU: one copy for many arrays, and nobody waits who need not.

A copy from or to pageable memory waits for all that the stream was asked before it. One from or to
pinned memory does not; many small ones cost more than a large one.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ALIGNED_BYTES = 64


def moved(arrays: Sequence[NDArray[np.generic]], device: torch.device) -> list[Tensor]:
    """Arrays as tensors on the device; on a CPU they share the arrays' memory.

    On a GPU they are parts of one piece of memory, copied at once from a pinned one. The host does
    not wait for it.
    """
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    ends = np.cumsum([-(-array.nbytes // _ALIGNED_BYTES) * _ALIGNED_BYTES for array in arrays])
    starts = [0, *ends[:-1].tolist()]
    host = torch.empty(int(ends[-1]), dtype=torch.uint8, pin_memory=True)
    for start, array in zip(starts, arrays, strict=True):
        place = host.numpy()[start : start + array.nbytes]
        place.view(array.dtype).reshape(array.shape)[...] = array
    there = host.to(device, non_blocking=True)
    return [
        there[start : start + array.nbytes].view(_dtype(array)).view(array.shape)
        for start, array in zip(starts, arrays, strict=True)
    ]


def _dtype(array: NDArray[np.generic]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, array.dtype)).dtype


class Fetched:
    """A tensor on its way to the host.

    Args:
      tensor: on any device.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._host = tensor.to("cpu", non_blocking=True)  # into pinned memory
        self._arrived: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def numpy(self) -> NDArray[np.float32]:
        """The values; waits until they are here."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host.numpy()


def stream_beside(device: torch.device) -> torch.cuda.Stream | None:
    """A stream that begins when what was asked of the device so far is done; None on a CPU."""
    if device.type != "cuda":
        return None
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    return stream
