"""Which model, and how it is made worse when it is used."""

from dataclasses import dataclass

from edm2lite.config.units import Nimg, check_choice, check_range
from edm2lite.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A model: a run directory + nimg + EMA length, or a file; and degradations, in any combination.

    Attributes:
        path: Run directory, snapshot file (.safetensors), NVIDIA snapshot (.pkl), the URL of such a file, or "nvidia:NAME" for
            a published model such as nvidia:edm2-img512-s (found in --models, or downloaded).
        nimg: Which snapshot of a run directory, for example 128Mi; default: the last.
        ema: EMA length sigma_rel, by post-hoc reconstruction; default for a run directory: the shortest stored.
        sha256: Refuse the file unless its bytes have this hash.
        unconditional: Use it without labels: the null label, for a conditional model.
        dropout: Rate of dropout while sampling, seeded per sample; 0: none.
        input_noise: p: the network sees noise level sigma (1 + p), and x with the noise missing to it, seeded per sample.
        sigma_scale: k: x as it is, but evaluated at k sigma.
        sigma_scale_of: What is taken from there: denoised (D(x; k sigma)), or score, so that the model stands for
            x + (D(x; k sigma) - x) / k^2. As a guide with k above 1 the first pushes samples outwards, the second inwards.
    """

    path: str | None = None
    nimg: Nimg | None = None
    ema: float | None = None
    sha256: str | None = None
    unconditional: bool = False
    dropout: float = 0.0
    input_noise: float = 0.0
    sigma_scale: float = 1.0
    sigma_scale_of: str = "denoised"

    def __post_init__(self) -> None:
        if self.path is None and any(value is not None for value in (self.nimg, self.ema, self.sha256)):
            raise UserError(
                "nimg, ema or sha256 of a model is set without its path; name the run directory or file, too"
            )
        check_range(
            "ema", self.ema is None or 0 < self.ema < 0.2886, self.ema, "an EMA length sigma_rel in (0, 0.2886)"
        )
        check_range("dropout of a model", 0 <= self.dropout < 1, self.dropout, "in [0, 1)")
        check_range("input_noise", 0 <= self.input_noise < float("inf"), self.input_noise, "0 or more")
        check_range("sigma_scale", 0 < self.sigma_scale < float("inf"), self.sigma_scale, "positive")
        check_choice("sigma_scale_of", self.sigma_scale_of, ("denoised", "score"))
        if self.sigma_scale_of != "denoised" and self.sigma_scale == 1:
            raise UserError(
                "sigma_scale_of is score but sigma_scale is 1, where it has no effect; set sigma_scale, too"
            )
        ok = self.sha256 is None or (len(self.sha256) == 64 and set(self.sha256) <= set("0123456789abcdef"))
        check_range("sha256", ok, self.sha256, "64 hexadecimal digits, in lower case")

    @property
    def degradations(self) -> dict[str, float | bool | str]:
        """The degradations that are in use."""
        neutral = {
            "unconditional": False, "dropout": 0.0, "input_noise": 0.0, "sigma_scale": 1.0, "sigma_scale_of": "denoised",
        }  # fmt: skip
        return {name: getattr(self, name) for name, off in neutral.items() if getattr(self, name) != off}
