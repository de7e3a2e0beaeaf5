"""NVIDIA's published EDM2 models: their names, the names of their files, and where these lie. Imports no torch.

Their licence is CC BY-NC-SA 4.0, also after an import.
"""

import re
from dataclasses import dataclass

from edm2lite.config import Nimg
from edm2lite.errors import UserError, unknown_name

NVIDIA_LICENCE = "CC BY-NC-SA 4.0 (NVIDIA)"
SCHEME = "nvidia:"
RECONSTRUCTIONS = "https://nvlabs-fi-cdn.nvidia.com/edm2/posthoc-reconstructions"
MODELS = (
    *(f"edm2-img512-{size}" for size in ("xxs", "xs", "s", "m", "l", "xl", "xxl", "xs-uncond", "s-uncond")),
    *(f"edm2-img64-{size}" for size in ("xs", "s", "m", "l", "xl", "xs-uncond")),
)
BATCH_SIZE = 2048  # of all published trainings


@dataclass(frozen=True)
class PublishedName:
    """What the name of a file in NVIDIA's layout says.

    Attributes:
        model: edm2-img512-s, or network-snapshot from a training of one's own.
        kimg: Training images in thousands, rounded down.
        ema: EMA length sigma_rel.
    """

    model: str
    kimg: int
    ema: float

    @property
    def nimg(self) -> Nimg | None:
        """Training images, a multiple of the batch size; None: no such multiple is `kimg` thousand."""
        nimg = -(-self.kimg * 1000 // BATCH_SIZE) * BATCH_SIZE
        return Nimg(nimg) if nimg // 1000 == self.kimg else None


def parse_file_name(name: str) -> PublishedName | None:
    """What a file name says: edm2-img512-s-2147483-0.130.pkl; None: it does not follow the pattern."""
    match = re.fullmatch(r"([\w-]+)-(\d{6,})-(0\.\d+)\.pkl", name)
    return PublishedName(match[1], int(match[2]), float(match[3])) if match else None


def file_name(model: str, nimg: int, ema: float) -> str | None:
    """Name of the published file of a model; None: such a name cannot say this nimg or this EMA length."""
    name = f"{model}-{nimg // 1000:07d}-{ema:.3f}.pkl"
    parsed = parse_file_name(name)
    return name if parsed and (parsed.nimg, parsed.ema) == (nimg, ema) else None


def model_name(path: str) -> str | None:
    """The model that "nvidia:NAME" names; None for any other path.

    Raises:
        UserError: If NVIDIA published no model of that name.
    """
    if not path.startswith(SCHEME):
        return None
    name = path.removeprefix(SCHEME)
    if name not in MODELS:
        raise unknown_name("published model", name, MODELS)
    return name


def needs_both(path: str) -> UserError:
    """The error for a published model whose file cannot be named."""
    return UserError(
        f"{path} has files of many times and EMA lengths; set nimg and ema, too, for example 2048Mi and 0.130, "
        "or import its raw snapshots"
    )
