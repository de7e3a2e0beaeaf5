"""Settings of the import of NVIDIA's pickles."""

from dataclasses import dataclass

from edm2lite.config.units import Nimg, check_choice, check_range


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """NVIDIA's pickles as our snapshots, once; interrupted, the same command goes on.

    Attributes:
        source: One .pkl file or its URL; or the raw snapshots of one model, MODEL-KIMG-EMA.pkl: a folder, or a pattern such as
            'raw/edm2-img512-s-*.pkl'.
        dest: A file (.safetensors) for one source; or a run directory, where nimg and EMA length name the snapshots, and from
            which any EMA length can be reconstructed.
        nimg: Training images of a single file whose name does not say them, for example 128Mi.
        ema: EMA length of a single file whose name does not say it.
        dtype: Of the weights in the file: stored (as they come, bit for bit: fp16) or fp32.
    """

    source: str = ""
    dest: str = ""
    nimg: Nimg | None = None
    ema: float | None = None
    dtype: str = "stored"

    def __post_init__(self) -> None:
        check_range("source", self.source != "", repr(self.source), "a .pkl file or a folder: --source PATH")
        check_range("dest", self.dest != "", repr(self.dest), "a .safetensors file or a run directory: --dest PATH")
        ok = self.ema is None or 0 < self.ema < 0.2886
        check_range("ema", ok, self.ema, "an EMA length sigma_rel in (0, 0.2886)")
        check_choice("dtype", self.dtype, ("stored", "fp32"))
