"""Model cards: what a folder of weights is, in words, with the licence of the weights. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NOT_STATED = "not stated"
_HUB_LICENCES = {
    "CC BY-NC-SA 4.0 (NVIDIA)": "cc-by-nc-sa-4.0",
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
}  # ours -> hub's


@dataclass(frozen=True)
class CardModel:
    """A line of a card.

    Attributes:
        part: main, guide or the name of a file.
        parameters: How many.
        images: Shape of what it makes: "64 x 64 x 4 latents".
        classes: How many; 0: none.
        nimg: Training images, "128Mi"; None: unknown.
        ema: EMA length; None: unknown.
        dataset: Name of the training data, or "".
        licence: Of the weights, or "".
        sha256: Hash of its weights.
    """

    part: str
    parameters: int
    images: str
    classes: int
    nimg: str | None
    ema: float | None
    dataset: str
    licence: str
    sha256: str


def model_card(title: str, models: Sequence[CardModel], usage: str, library: str) -> str:
    """README.md of a repository: the hub's header, a table of the models, how to use them, the licence.

    Args:
        title: Heading.
        models: What it holds.
        usage: Markdown: how to use it.
        library: What loads it, as the hub knows it: diffusers or edm2lite.
    """
    return f"""{_header(models, library)}
# {title}

EDM2 diffusion models for edm2lite (Karras et al., [2312.02696](https://arxiv.org/abs/2312.02696) and
[2406.02507](https://arxiv.org/abs/2406.02507)).

{_table(models)}

{usage}

## Licence of the weights

{_licence(models)}
"""


def _header(models: Sequence[CardModel], library: str) -> str:
    """YAML by which the hub sorts repositories."""
    names = {_HUB_LICENCES.get(m.licence, "other") for m in models if m.licence}
    known = len(names) == 1 and all(m.licence for m in models)
    licence = f"license: {names.pop()}\n" if known else "license: other\n" if names else ""
    tags = "tags:\n- edm2\n- diffusion\n- image-generation"
    return f"---\nlibrary_name: {library}\n{licence}{tags}\n---"


def _table(models: Sequence[CardModel]) -> str:
    header = ["", "parameters", "images", "classes", "nimg", "EMA length", "dataset", "licence", "sha256"]
    rows = [
        [m.part, f"{m.parameters:,}", m.images, m.classes or "none", m.nimg or "unknown", m.ema or "unknown",
         m.dataset or "unknown", m.licence or NOT_STATED, m.sha256[:16]]
        for m in models
    ]  # fmt: skip
    lines: list[Sequence[object]] = [header, ["---"] * len(header), *rows]
    return "\n".join(map(_row, lines))


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _licence(models: Sequence[CardModel]) -> str:
    lines = [f"- {m.part}: {m.licence or NOT_STATED}" for m in models]
    if any("NVIDIA" in m.licence for m in models):
        lines.append(
            "\nNVIDIA's weights keep their licence in any format: no commercial use, share alike, name NVIDIA."
        )
    return "\n".join([*lines, "\nedm2lite itself is under Apache-2.0; that says nothing about weights."])


def images_text(resolution: int, channels: int, encoder: dict[str, Any]) -> str:
    """ "64 x 64 x 4 latents"."""
    return f"{resolution} x {resolution} x {channels}" + (" latents" if encoder["name"] == "vae" else "")
