"""Images a second from PNG files to features on disk, beside the loop that others write: one image at a time.

python benchmarks/features.py                                    # the digits' classifier and Inception, a minute on a CPU
python benchmarks/features.py --images 4096 --size 512 --batch 64 --detectors inception,dinov2         # for a GPU

"folder" and "zip" are the real pipeline of `evaluate.py metrics --images`: open, decode ahead, resize, extract, keep. The
baseline is PIL and the detector in float32 on one image at a time. Weights are the published ones where they are in the cache,
else random: the work is the same. FLOP are those of the detector. Parity: relative root mean square difference of the features.
"""

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Parity, Report, relative_error
from options import listed, parser
from PIL import Image
from timing import in_turns, memory_of, ratio
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from edm2lite.data.digits import load_digits
from edm2lite.evaluation.detectors import dinov2, inception
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.evaluation.detectors.half import halved
from edm2lite.evaluation.detectors.load import load_detector
from edm2lite.evaluation.extract import extract
from edm2lite.evaluation.shards import FeatureStore
from edm2lite.evaluation.sources import FileSource
from edm2lite.files import cache_dir
from edm2lite.sampling.reading import open_images

# In fp32 the features of a whole batch and of a single image differ by the order of sums. Half precision is only shown not to
# be broken: random weights enlarge rounding (Inception in bf16: to 0.18), and what it does to metrics is proven elsewhere.
TOLERANCES = {"fp32": 1e-4, "fp16": 1e-1, "bf16": 5e-1}
PUBLISHED = {"inception": (inception.Inception, inception.WEIGHTS), "dinov2": (dinov2.DINOv2, dinov2.WEIGHTS)}


def arguments() -> argparse.Namespace:
    p = parser(__doc__, repeats=3)
    p.add_argument("--detectors", type=listed, default=["digits", "inception"], help="digits, inception, dinov2")
    p.add_argument(
        "--images", type=int, default=None, help="default: 1024 for digits; 1024 on CUDA, else 16, for others"
    )
    p.add_argument("--size", type=int, default=64, help="side of the images, but for digits")
    p.add_argument("--batch", type=int, default=None, help="images at a time")
    p.add_argument("--dtype", type=listed, default=None, help="of the detector in our pipeline: fp32,fp16,bf16")
    args = p.parse_args()
    args.dtype = args.dtype or (["fp32", "fp16", "bf16"] if torch.device(args.device).type == "cuda" else ["fp32"])
    return args


def detector(name: str, report: Report) -> Detector:
    """Ready for use; with random weights where the published ones are not here, of which nothing is downloaded."""
    if name not in PUBLISHED or (cache_dir() / "detectors" / PUBLISHED[name][1].name).is_file():
        return load_detector(name, device=report.device)
    report.note(f"{name}: random weights, for the published ones are not in the cache.")
    torch.manual_seed(0)
    made = PUBLISHED[name][0]()
    for key, parameter in made.named_parameters():
        if key.endswith("gamma"):  # at their initial 1 a residual network of random weights is the same
            parameter.data.fill_(0.5)
    made.weights_sha256 = "random"
    return calibrated(made.requires_grad_(False).to(report.device))


def calibrated(net: Detector) -> Detector:
    """With batch normalisation by the statistics of some images: random weights would else shrink activations to nothing."""
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        net.train()(torch.from_numpy(pictures(net.name, 8, 64)))
    return net.eval()


def pictures(name: str, count: int, size: int) -> np.ndarray:
    """uint8 [N, C, H, W]: digits, else smooth random colours with noise."""
    if name == "digits":
        return np.resize(load_digits().images, (count, 1, 8, 8))
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    smooth = np.stack([np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)) for c in coarse])
    return (smooth + rng.normal(0, 5, smooth.shape)).clip(0, 255).astype(np.uint8).transpose(0, 3, 1, 2)


def write(folder: Path, images: np.ndarray) -> tuple[Path, Path]:
    """The same images as a folder of PNGs and as an uncompressed ZIP of them."""
    pngs, archive = folder / "pngs", folder / "images.zip"
    pngs.mkdir()
    with zipfile.ZipFile(archive, "w") as f:
        f.writestr("dataset.json", '{"labels": null}')
        for i, image in enumerate(images):
            path = pngs / f"{i:06d}.png"
            Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(path)
            f.write(path, f"00000/img{i:08d}.png")
    return pngs, archive


def pipeline(path: Path, net: Detector, batch: int) -> Tensor:
    """Features of all images, through files as a measurement makes them."""
    with tempfile.TemporaryDirectory() as root:
        source = FileSource(open_images(path), batch)
        store = FeatureStore(Path(root), source.identity)
        extract(source, [net], store, source.keys)
        return store.read(net, source.keys).x


def plainly(folder: Path, net: Detector) -> Tensor:
    """One image at a time."""
    found = []
    with torch.no_grad():
        for path in sorted(folder.glob("*.png")):
            with Image.open(path) as picture:
                pixels = np.array(picture)
            pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
            found.append(net(torch.from_numpy(np.ascontiguousarray(pixels))[None]).cpu())
    return torch.cat(found)


def flops(net: Detector, images: np.ndarray) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.from_numpy(np.ascontiguousarray(images[:1])))
    return float(counter.get_total_flops())


def measure(name: str, args: argparse.Namespace, report: Report) -> None:
    cuda = report.device.type == "cuda"
    count = args.images or (1024 if name == "digits" or cuda else 16)
    batch = min(args.batch or (64 if cuda or name == "digits" else 8), count)
    net, images = detector(name, report), pictures(name, count, args.size)
    work = flops(net, images)
    with tempfile.TemporaryDirectory() as folder:
        pngs, archive = write(Path(folder), images)
        runs: dict[tuple[str, str], Callable[[], Tensor]] = {("baseline", "fp32"): lambda: plainly(pngs, net)}
        for dtype in args.dtype:
            used = net if dtype == "fp32" else halved(net, dtype)
            for kind, path in (("folder", pngs), ("zip", archive)):
                runs[kind, dtype] = partial(pipeline, path, used, batch)
        results: dict[tuple[str, str], tuple[Tensor, tuple[str, Any]]] = {}
        for key, run in runs.items():
            kept: list[Tensor] = []
            memory = memory_of(lambda run=run, kept=kept: kept.append(run()), report.device)
            results[key] = (kept[0], memory)
        plain = ("baseline", "fp32")
        spent = in_turns(runs, report.device, args.repeats, warmup=0)
    for (kind, dtype), (features, memory) in results.items():
        key = (kind, dtype)
        parity = None if key == plain else Parity(relative_error(features, results[plain][0]), TOLERANCES[dtype])
        columns = {"dtype": dtype, "images": count, "side": images.shape[-1], "batch": 1 if key == plain else batch}
        columns |= report.speed(spent[key], count, work, dtype)
        columns |= {"times the baseline": ratio(spent[key], spent[plain]), memory[0]: memory[1]}
        report.add(f"{name}, {kind}", columns, parity)


def main() -> int:
    args = arguments()
    report = Report("features", args)
    for name in args.detectors:
        report.attempt(name, lambda name=name: measure(name, args, report))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
