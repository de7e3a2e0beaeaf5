"""A folder that diffusers loads as a pipeline, from models of ours or NVIDIA's: `edm2lite snapshot export`."""

import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from edm2lite.config import ExportConfig, GuidanceConfig, WeightConfig, plain
from edm2lite.data.encoders import VAEEncoder
from edm2lite.files import write_text
from edm2lite.interop.card import CardModel, images_text, model_card
from edm2lite.interop.pipeline import EDM2Pipeline
from edm2lite.interop.scheduler import EDMHeunScheduler
from edm2lite.interop.unet import EDM2UNet
from edm2lite.sampling.pair import Pair, load_pair
from edm2lite.snapshots.load import LoadedModel


def export(cfg: ExportConfig) -> None:
    """Write the folder `cfg.dest`: networks, solver, VAE, model card. It is there whole or not at all.

    Raises:
        UserError: If a model cannot be loaded, or main and guide do not go together.
    """
    weights = cfg.guidance
    pair = load_pair(cfg.main, cfg.guide, GuidanceConfig.of(weights), device="cpu", vae=cfg.vae, models=cfg.models)
    pair.check()
    dest = Path(cfg.dest).resolve()
    dest.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{dest.name}.", dir=dest.parent) as temporary:
        folder = Path(temporary) / dest.name  # made with the user's umask, unlike the temporary one
        make_pipeline(pair, weights).save_pretrained(folder)
        if cfg.dtype == "fp16":
            _halve(folder)
        write_text(folder / "README.md", _card(pair, weights, dest.name))
        _let_others_read(folder)
        os.replace(folder, dest)
    print(f"{cfg.dest}: load it with edm2lite.interop.EDM2Pipeline.from_pretrained({cfg.dest!r})")


def make_pipeline(pair: Pair, weights: WeightConfig) -> EDM2Pipeline:
    """The pipeline of a main model and at most one guide, which share their networks with it."""
    guides = [_unet(model) for model, _ in pair.guides]
    encoder = pair.encoder
    return EDM2Pipeline(
        _unet(pair.main),
        EDMHeunScheduler(),
        guide=guides[0] if guides else None,
        vae=encoder.load(torch.device("cpu")) if isinstance(encoder, VAEEncoder) else None,
        guidance=plain(asdict(weights)),
        encoder=pair.main.info.encoder,
    )


def _unet(model: LoadedModel) -> EDM2UNet:
    return EDM2UNet.from_denoiser(model.denoiser.to(memory_format=torch.contiguous_format))


def _halve(folder: Path) -> None:
    """Store the parameters of the networks in float16; the fixed buffers of Fourier features stay as they are."""
    for path in [*folder.glob("unet/*.safetensors"), *folder.glob("guide/*.safetensors")]:
        tensors = load_file(path)
        fixed = (".freqs", ".phases")
        halved = {k: v if k.endswith(fixed) else v.to(torch.float16) for k, v in tensors.items()}
        save_file(halved, path, metadata={"format": "pt"})


def _let_others_read(folder: Path) -> None:
    """Give all files the mode that the user's umask says; safetensors makes files that only their owner can read."""
    mode = (folder / "README.md").stat().st_mode & 0o777
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def _card(pair: Pair, weights: WeightConfig, name: str) -> str:
    models = [_card_model("main", pair.main), *(_card_model("guide", model) for model, _ in pair.guides)]
    return model_card(name, models, _usage(pair, weights, name), "diffusers")


def _card_model(part: str, model: LoadedModel) -> CardModel:
    info = model.info
    return CardModel(
        part,
        parameters=sum(p.numel() for p in model.denoiser.parameters()),
        images=images_text(info.img_resolution, info.img_channels, info.encoder),
        classes=info.label_dim,
        nimg=None if info.nimg is None else str(info.nimg),
        ema=info.sigma_rel,
        dataset=info.dataset,
        licence=info.licence,
        sha256=model.fingerprint,
    )


def _usage(pair: Pair, weights: WeightConfig, name: str) -> str:
    label = "class_labels=[0, 1, 2, 3], " if pair.main.info.label_dim else ""
    guide = f"\n\nGuidance unless a call says otherwise: {_guidance(weights)}." if pair.guides else ""
    return f"""## How to sample

```
pip install edm2lite[diffusers]
```
```python
from edm2lite.interop import EDM2Pipeline

pipe = EDM2Pipeline.from_pretrained("{name}")  # .to("cuda"); torch_dtype=torch.float16 computes in float16
images = pipe({label}seeds=[0, 1, 2, 3]).images
```

`DiffusionPipeline.from_pretrained("{name}", trust_remote_code=True)` does the same, with edm2lite installed, too. An image
depends on its seed (and class) alone.{guide}"""


def _guidance(weights: WeightConfig) -> str:
    """What a pair does, in words: "weight 2.1 for sigma in (0.2, 2.9]"."""
    schedule = weights.schedule
    if schedule.table is not None:
        text = f"weights {[list(point) for point in schedule.table]} over {schedule.over}"
    else:
        text = f"weight {weights.weight}"
        if schedule.shape != "constant":
            text += f", {schedule.shape} {schedule.direction} over {schedule.over}"
    return text if weights.interval is None else f"{text}, for sigma in ({weights.interval[0]}, {weights.interval[1]}]"
