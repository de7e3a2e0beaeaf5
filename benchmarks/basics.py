"""Speed of the basic operations on whatever device is there, each beside a plain baseline and with a parity check.

python benchmarks/basics.py                          # tiny network, seconds on a CPU
python benchmarks/basics.py --size S --batch 64      # EDM2-S on ImageNet-512 latents, for a GPU

Prints a Markdown table: milliseconds (median of the repeats), baseline, ratio, largest difference of the results.
"""

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable

import torch

from edm2lite.config import NetworkConfig
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.layers import normalize_weights_
from edm2lite.snapshots.power_function import power_function_beta
from edm2lite.training.loss import weighted_loss
from edm2lite.training.power_ema import PowerEMA

SIZES = {"tiny": 16, "XS": 128, "S": 192, "M": 256, "L": 320, "XL": 384}
REPEATS = 7


def make(size: str, device: torch.device) -> Denoiser:
    torch.manual_seed(0)
    if size == "tiny":
        tiny = NetworkConfig(model_channels=16, channel_mult=(1, 2), num_blocks=1, attn_resolutions=())
        net = Denoiser(16, 3, 8, tiny)
    else:
        net = Denoiser(64, 4, 1000, NetworkConfig(model_channels=SIZES[size]))
    for name, parameter in net.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(0.7)  # at its initial 0 every network is the same
    return net.to(device)


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Median time of a call, after two calls to warm up."""
    times = []
    for _ in range(REPEATS + 2):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[2:])


def forward(net: Denoiser, batch: int) -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    """One evaluation in channels_last, against the default memory layout."""
    device = next(net.parameters()).device
    x = torch.randn(batch, net.img_channels, net.img_resolution, net.img_resolution, device=device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    fast = copy.deepcopy(net).to(memory_format=torch.channels_last)
    run = torch.no_grad()(lambda model: model(x, torch.tensor(0.5, device=device), labels))
    return lambda: run(fast), lambda: run(net)


def ema(net: Denoiser) -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    """Update of both EMA profiles by foreach, against a loop over the tensors."""
    ours = PowerEMA(net, (0.05, 0.10))
    plain = copy.deepcopy(ours.averages)

    def loop() -> torch.Tensor:
        for sigma_rel, average in plain.items():
            weight = 1 - power_function_beta(sigma_rel, 4096, 64)
            for a, p in zip(average, ours.params, strict=True):
                a.lerp_(p, weight)
        return plain[0.05][0]

    def foreach() -> torch.Tensor:
        ours.update(4096, 64)
        return ours.averages[0.05][0]

    return foreach, torch.no_grad()(loop)


def train_step(net: Denoiser, batch: int) -> Callable[[], None]:
    """Loss, backward, Adam, EMA, forced normalisation."""
    net = copy.deepcopy(net).requires_grad_(True)
    device, profiles = next(net.parameters()).device, PowerEMA(net, (0.05, 0.10))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.99))
    x = torch.randn(batch, net.img_channels, net.img_resolution, net.img_resolution, device=device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)

    def step() -> None:
        sigma = torch.rand(batch, device=device) + 0.1
        weighted_loss(net, x, labels, sigma, torch.randn_like(x)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        profiles.update(4096, 64)
        normalize_weights_(net)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = make(args.size, device)
    net.compute_dtype = getattr(torch, args.dtype)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    print(
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, {args.size}, {args.dtype}, batch {args.batch}\n"
    )
    print(
        "| operation | ms | images/s | baseline | baseline ms | ratio | largest difference |\n|---|---|---|---|---|---|---|"
    )
    step = milliseconds(train_step(net, args.batch), device)
    print(f"| train step | {step:.2f} | {1000 * args.batch / step:.0f} | | | | |")
    for label, baseline, (ours, plain), images in [
        ("forward, channels_last", "default layout", forward(net, args.batch), args.batch),
        ("both EMA profiles, foreach", "loop over tensors", ema(net), None),
    ]:
        difference = float((ours() - plain()).abs().max())
        a, b = milliseconds(ours, device), milliseconds(plain, device)
        rate = f"{1000 * images / a:.0f}" if images else ""
        print(f"| {label} | {a:.2f} | {rate} | {baseline} | {b:.2f} | {b / a:.2f} | {difference:.1e} |")
        assert difference < (1e-4 if args.dtype == "float32" else 0.05), "a fast wrong number"


if __name__ == "__main__":
    main()
