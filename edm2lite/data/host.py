"""Copies from the device into the CPU's memory, which nobody waits for before they are needed."""

from collections.abc import Callable

import torch
from torch import Tensor


def to_host(*tensors: Tensor) -> Callable[[], list[Tensor]]:
    """Begin to copy tensors; what is returned waits for the copies, in whatever thread, and gives them.

    From CUDA it goes into pinned memory, queued on the caller's stream: after all that makes the tensors, and before all that
    the caller queues later, so that also memory which a CUDA graph fills again, or the allocator gives to others, is read in
    time. A copy begun by the thread that needs it would stand behind the next batch's kernels. A tensor that is on the CPU is
    not copied.
    """
    copies = [tensor.to("cpu", non_blocking=tensor.is_cuda) for tensor in tensors]  # on MPS nothing would wait for it
    events = []
    for device in {tensor.device for tensor in tensors if tensor.is_cuda}:
        event = torch.cuda.Event(blocking=True)  # sleeps while it waits, and leaves the core to who encodes
        event.record(torch.cuda.current_stream(device))
        events.append(event)

    def wait() -> list[Tensor]:
        for event in events:
            event.synchronize()
        return copies

    return wait
