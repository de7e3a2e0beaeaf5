"""The samplers that the figures compare."""

from dataclasses import asdict, dataclass

from edm2lite.config import GuidanceConfig, GuideConfig, ModelRef, Toy2dPlotConfig
from edm2lite.toy2d.points import Guided2d


@dataclass(frozen=True)
class Pairs:
    """The main model alone, with classifier-free guidance, with its score scaled, and with autoguidance."""

    alone: Guided2d
    cfg: Guided2d
    scaled: Guided2d
    autoguided: Guided2d


def pairs(cfg: Toy2dPlotConfig) -> Pairs:
    """Load all models.

    Raises:
        UserError: If one is missing, or a weight is 1.
    """

    def guided(ref: ModelRef, weight: float) -> Guided2d:
        return Guided2d(cfg.main, [GuideConfig(**asdict(ref), weight=weight)], sampler=cfg.sampler)

    return Pairs(
        alone=Guided2d(cfg.main, sampler=cfg.sampler),
        cfg=guided(cfg.cfg_guide, cfg.cfg_weight),
        scaled=Guided2d(cfg.main, guidance=GuidanceConfig(truncation=cfg.truncation), sampler=cfg.sampler),
        autoguided=guided(cfg.guide, cfg.weight),
    )
