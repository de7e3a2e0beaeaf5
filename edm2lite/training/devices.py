"""What devices can do by their data sheets, and how much of it the published trainings used."""

import math
from typing import NamedTuple

from edm2lite.errors import unknown_name


class Device(NamedTuple):
    """One accelerator.

    Attributes:
        tensor: Peak of fp16 and bf16 on its matrix units, dense, float32 accumulation, in TFLOP/s.
        fp32: Peak of float32 without TF32, in TFLOP/s.
        memory: In GiB.
        power: Thermal design power, in W.
    """

    tensor: float
    fp32: float
    memory: float
    power: float


# NVIDIA's data sheets: A100 (SXM), H100 (SXM), H200 (SXM), HGX B200, L40S, and the Ada white paper. They print the
# peaks from H100 on with sparsity; here is half of that. Memory is what the driver reports.
DEVICES = {
    "a100-40gb": Device(312, 19.5, 40, 400),
    "a100": Device(312, 19.5, 80, 400),
    "h100": Device(989, 67, 79.6, 700),
    "h200": Device(989, 67, 140, 700),
    "b200": Device(2250, 80, 179, 1000),
    "l40s": Device(362, 91.6, 45, 350),
    "rtx4090": Device(165, 82.6, 24, 450),
}

# Images a second on 32 A100s in fp16, by multiply-adds (both as published: Karras et al. 2024a, Tables 2 and 6).
PUBLISHED_SPEEDS = {45.5e9: 8265, 102.2e9: 4717, 180.8e9: 3205, 282.2e9: 2137, 405.9e9: 1597, 552.1e9: 1189}


def find_device(name: str) -> Device:
    """Device by name.

    Raises:
        UserError: If it is not in the table.
    """
    if name not in DEVICES:
        raise unknown_name("device of --estimate", name, DEVICES)
    return DEVICES[name]


def published_utilisation(multiply_adds: float) -> float:
    """Share of the A100's peak that the published training nearest in multiply-adds an image reached: 0.23 ... 0.39."""
    nearest = min(PUBLISHED_SPEEDS, key=lambda published: abs(math.log(published / multiply_adds)))
    return PUBLISHED_SPEEDS[nearest] / 32 * 6 * nearest / (DEVICES["a100"].tensor * 1e12)
