"""edm2lite: EDM2 diffusion models with autoguidance: train, sample a main model with any guide, measure.

The public names below are imported when first used, so that `import edm2lite` and `--help` need no torch.
"""

from typing import TYPE_CHECKING

from edm2lite.lazy import lazy

__version__ = "0.1.0"

_EXPORTS = {
    "RGBEncoder": "edm2lite.data.encoders",
    "UserError": "edm2lite.errors",
    "VAEEncoder": "edm2lite.data.encoders",
    "center_crop": "edm2lite.data.crop",
    "frechet_distance": "edm2lite.evaluation.metrics.frechet",
    "guided": "edm2lite.guidance.autoguidance",
    "karras_sigmas": "edm2lite.sampling.noise_levels",
    "learning_rate": "edm2lite.training.learning_rate",
    "load_denoiser": "edm2lite.snapshots.load",
    "posthoc_coefficients": "edm2lite.snapshots.power_function",
    "power_function_beta": "edm2lite.snapshots.power_function",
    "sample_ancestral": "edm2lite.sampling.ancestral",
    "sample_deis": "edm2lite.sampling.deis",
    "sample_dpmpp_2m": "edm2lite.sampling.dpmpp",
    "sample_dpmpp_2s": "edm2lite.sampling.dpmpp",
    "sample_euler": "edm2lite.sampling.euler",
    "sample_heun": "edm2lite.sampling.heun",
    "sample_unipc": "edm2lite.sampling.unipc",
    "seeded_noise": "edm2lite.sampling.seeded",
    "sigma_rel_to_gamma": "edm2lite.snapshots.power_function",
}
__all__ = sorted(_EXPORTS)  # noqa: PLE0605 - a list at run time

if TYPE_CHECKING:
    from edm2lite.data.crop import center_crop
    from edm2lite.data.encoders import RGBEncoder, VAEEncoder
    from edm2lite.errors import UserError
    from edm2lite.evaluation.metrics.frechet import frechet_distance
    from edm2lite.guidance.autoguidance import guided
    from edm2lite.sampling.ancestral import sample_ancestral
    from edm2lite.sampling.deis import sample_deis
    from edm2lite.sampling.dpmpp import sample_dpmpp_2m, sample_dpmpp_2s
    from edm2lite.sampling.euler import sample_euler
    from edm2lite.sampling.heun import sample_heun
    from edm2lite.sampling.noise_levels import karras_sigmas
    from edm2lite.sampling.seeded import seeded_noise
    from edm2lite.sampling.unipc import sample_unipc
    from edm2lite.snapshots.load import load_denoiser
    from edm2lite.snapshots.power_function import posthoc_coefficients, power_function_beta, sigma_rel_to_gamma
    from edm2lite.training.learning_rate import learning_rate

__getattr__, __dir__ = lazy(__name__, _EXPORTS)
