"""Latents decoded to pixels by Stable Diffusion's VAE, as sampling does it, beside the plain loop.

python benchmarks/decoder.py                             # 64x64 pixels, under a minute on a CPU
python benchmarks/decoder.py --side 64 --images 64       # 512x512 pixels, for a GPU

Random weights: the work is that of the published ones. The baseline is diffusers' decoder in float32 and the default memory
layout, 8 images at a time. Parity: relative root mean square difference of the pixels. Needs the extra vae.
"""

import sys
from importlib.util import find_spec
from typing import Any

import torch
from harness import Parity, Report, relative_error
from options import parser
from timing import in_turns, memory_of, ratio
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from edm2lite.data.encoders import VAEEncoder
from edm2lite.network.precision import compute_dtype

CHUNK = 8
ARCHITECTURE: dict[str, Any] = {  # of stabilityai/sd-vae-ft-mse
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4, "sample_size": 256,
}  # fmt: skip


def flops(side: int) -> float:
    """Of one image."""
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        vae = AutoencoderKL(**ARCHITECTURE)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            vae.decode(torch.empty(1, 4, side, side))
    return float(counter.get_total_flops())


@torch.no_grad()
def measure(report: Report, side: int, count: int) -> None:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    compute_dtype("fp32")  # switches TF32 off, as loading a denoiser does
    with report.device:
        vae, plain = AutoencoderKL(**ARCHITECTURE), AutoencoderKL(**ARCHITECTURE)
        latents = 0.5 * torch.randn(count, 4, side, side)
    plain.load_state_dict(vae.state_dict())
    ours, theirs = VAEEncoder(vae), VAEEncoder(plain)  # the latter for its constants alone
    module = plain.eval().requires_grad_(False)

    def loop() -> Tensor:
        raw = (latents - theirs.bias.to(latents)) / theirs.scale.to(latents)
        pixels = torch.cat([module.decode(chunk).sample for chunk in raw.split(CHUNK)])
        return (pixels.clamp(0, 1) * 255).to(torch.uint8)

    runs = {"baseline": loop, "ours": lambda: ours.decode(latents)}
    results: dict[str, tuple[Tensor, tuple[str, Any]]] = {}
    for name, run in runs.items():
        kept: list[Tensor] = []
        memory = memory_of(lambda run=run, kept=kept: kept.append(run()), report.device)
        results[name] = (kept[0], memory)
    spent, work = in_turns(runs, report.device, report.args.repeats, warmup=0), flops(side)
    for name, (pixels, memory) in results.items():
        columns = {
            "images": count,
            "pixels": f"{8 * side}x{8 * side}",
            **report.speed(spent[name], count, work, "fp32"),
        }
        columns |= {"times the baseline": ratio(spent[name], spent["baseline"]), memory[0]: memory[1]}
        # a rounding at the edge of a grey level moves a pixel by one of 255
        parity = None if name == "baseline" else Parity(relative_error(pixels, results["baseline"][0]), 1e-3)
        report.add(f"decoder, {name}", columns, parity)


def main() -> int:
    p = parser(__doc__, repeats=3)
    p.add_argument("--side", type=int, default=8, help="of the latents")
    p.add_argument("--images", type=int, default=2)
    args = p.parse_args()
    report = Report("decoder", args)
    if find_spec("diffusers") is None:
        report.skip("decoder", "diffusers is not installed: pip install 'edm2lite[vae]'")
    else:
        report.attempt("decoder", lambda: measure(report, args.side, args.images))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
