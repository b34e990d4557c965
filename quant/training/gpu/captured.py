"""An optimizer step captured as a CUDA graph.

A step of a small network is some thousand kernels of a few microseconds each (a GRU over time runs
some in every frame); launched one by one, small batches would wait for launches. A graph is
launched at once: https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Steps run as usual before one is captured: libraries choose algorithms and set up workspaces.
STEPS_BEFORE = 3


class CapturedStep:
    """Calls a step as it is for the first times, then replays it as a graph.

    The step must do the same whatever its batch holds, on batches of one shape; what changes
    otherwise, it must read from tensors on the GPU.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._step = step
        self._calls = 0
        self._stream = torch.cuda.Stream()
        self._graph = torch.cuda.CUDAGraph()
        self._batch: tuple[Tensor, ...] | None = None
        self._loss: Tensor | None = None

    def __call__(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Take a step on samples [batch, n]; returns its loss, a scalar, when it is done."""
        if self._batch is None:
            self._batch = tuple(torch.empty_like(x, device="cuda") for x in (noisy, clean))
        for held, given in zip(self._batch, (noisy, clean), strict=True):
            held.copy_(given, non_blocking=True)
        if self._calls < STEPS_BEFORE:
            # Where capturing will happen too: not on the default stream.
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                loss = self._step(*self._batch)
            torch.cuda.current_stream().wait_stream(self._stream)
        else:
            if self._loss is None:
                with torch.cuda.graph(self._graph):
                    self._loss = self._step(*self._batch)
            self._graph.replay()
            loss = self._loss
        self._calls += 1
        torch.cuda.synchronize()
        return loss.clone()
