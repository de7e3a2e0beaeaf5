"""Upload to the Hugging Face hub: `edm2lite snapshot push`."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

from edm2lite.config import Nimg, PushConfig
from edm2lite.errors import UserError
from edm2lite.interop.card import CardModel, images_text, model_card
from edm2lite.snapshots.describe import describe

_PIPELINE = ("README.md", "model_index.json", "pipeline.py", "*/*.json", "*/*.safetensors")
_SNAPSHOTS = ("README.md", "config.yaml", "*-ema*.safetensors", "snapshots/*-ema*.safetensors")


def push(cfg: PushConfig) -> None:
    """Make the repository if need be, and upload to it, in one commit.

    Of a folder, temporary files, checkpoints and logs stay here. Snapshots get a model card, unless there is one in the
    folder or in the repository.

    Raises:
        UserError: If there is nothing to upload, huggingface_hub is not installed, nobody is logged in, or the hub refuses.
    """
    path = Path(cfg.path)
    files = files_to_push(path)
    hub = _huggingface_hub()
    if hub.get_token() is None:
        raise UserError("there is no token for the Hugging Face hub; log in with: hf auth login, or set HF_TOKEN")
    operations = [hub.CommitOperationAdd(name, str(file)) for name, file in files.items()]
    network_errors = hub.utils.HfHubHTTPError.__bases__[0]  # of its HTTP library: failed connections too
    try:
        api = hub.HfApi()
        url = api.create_repo(cfg.repo, private=cfg.private, exist_ok=True)
        if "README.md" not in files and not api.file_exists(cfg.repo, "README.md"):
            operations.append(hub.CommitOperationAdd("README.md", snapshots_card(path, cfg.repo).encode()))
        api.create_commit(cfg.repo, operations=operations, commit_message=cfg.message)
    except (network_errors, OSError, hub.utils.HFValidationError) as e:
        text = " ".join(str(e).split())[:300]
        raise UserError(f"upload to {cfg.repo} failed: {text}; check name, token and network, and try again") from e
    print(f"{len(operations)} files of {path} are at {url}")


def files_to_push(path: Path) -> dict[str, Path]:
    """The files to upload, by their name in the repository.

    Raises:
        UserError: If the path is no snapshot, and no folder of an exported pipeline or of snapshots.
    """
    if path.is_file():
        if path.suffix != ".safetensors":
            raise UserError(f"{path} is no snapshot (.safetensors); make a pipeline of it: edm2lite snapshot export")
        describe(str(path))  # refuses other safetensors files
        return {path.name: path}
    patterns = _PIPELINE if _is_pipeline(path) else _SNAPSHOTS
    files = {str(file.relative_to(path)): file for pattern in patterns for file in sorted(path.glob(pattern))}
    if not any(name.endswith(".safetensors") for name in files):
        raise UserError(
            f"{path} holds neither snapshots nor a pipeline; make one with: edm2lite snapshot export --dest {path}"
        )
    return files


def _is_pipeline(path: Path) -> bool:
    """Whether a folder was made by `edm2lite snapshot export`."""
    index = path / "model_index.json"
    if not index.is_file():
        return False
    try:
        return "EDM2Pipeline" in json.loads(index.read_text())["_class_name"]
    except (ValueError, KeyError, TypeError) as e:
        raise UserError(f"{index} is damaged; export the pipeline again") from e


def _huggingface_hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as e:
        raise UserError("uploads need huggingface_hub: pip install 'edm2lite[hub]'") from e
    return huggingface_hub


def snapshots_card(path: Path, repo: str) -> str:
    """The model card of a snapshot, or of those of a run: its last ones."""
    found = describe(str(path))
    lengths = found["stored"][str(Nimg(found["nimg"]))] if "stored" in found else [found["ema"]]
    described = [describe(str(path), ema=length) for length in lengths]
    name = repo.split("/")[1]
    return model_card(name, [_card_model(d) for d in described], _usage(found, repo, name), "edm2lite")


def _card_model(found: dict[str, Any]) -> CardModel:
    return CardModel(
        Path(found["file"]).name,
        parameters=found["parameters"],
        images=images_text(found["img_resolution"], found["img_channels"], found["encoder"]),
        classes=found["label_dim"],
        nimg=None if found["nimg"] is None else str(Nimg(found["nimg"])),
        ema=found["ema"],
        dataset=found["dataset"],
        licence=found["licence"],
        sha256=found["sha256"],
    )


def _usage(found: dict[str, Any], repo: str, name: str) -> str:
    stored = found.get("stored", {})
    times = f"\n\nSnapshots of {len(stored)} times: {', '.join(stored)}." if len(stored) > 1 else ""
    path = name if stored else f"{name}/{Path(found['file']).name}"
    return f"""## How to sample

```
hf download {repo} --local-dir {name}
edm2lite sample --main.path {path} --seeds 0-63 --outdir out
```{times}"""
