"""Number formats by name."""

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def compute_dtype(precision: str) -> torch.dtype:
    """dtype of the UNet's activations. Float32 means float32: TF32, which rounds to 10 bits, is switched off.

    Args:
        precision: fp32, bf16 or fp16.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return DTYPES[precision]
