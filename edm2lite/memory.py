"""When memory ends."""

import torch


def out_of_memory(error: RuntimeError) -> bool:
    """Whether it says so; also of the CPU's allocator, which has no exception of its own, and of libraries that hide it.

    cuDNN tries its algorithms one after the other, and finds none if none has memory to work in.
    """
    hidden = ("can't allocate memory", "unable to find an engine", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in hidden)
