"""Autoguidance in diffusers' own pipelines: a second network guides Stable Diffusion, SDXL or DeepFloyd IF.

diffusers' AutoGuidance drops layers of the same network; here the guide is any network that takes the same inputs, such as
an earlier checkpoint. What is combined are the networks' outputs. At one noisy image x and noise level, the denoised image
is the same affine function of the output for both networks,

    epsilon:       D = (x - sqrt(1 - abar) out) / sqrt(abar)
    v-prediction:  D = sqrt(abar) x - sqrt(1 - abar) out

and an affine function of a combination whose weights add up to 1 is that combination of its values. So

    out_guide + w (out_main - out_guide)  gives  D_guide + w (D_main - D_guide)    (Karras et al. 2024b, Eq. 3).

The pipeline's own classifier-free guidance is another such combination, over two halves of a batch. Each half is autoguided,
which is the same as autoguiding what classifier-free guidance makes of either network.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DiffusionPipeline, ModelMixin
from torch import Tensor

from edm2lite.config import ScheduleConfig, WeightConfig
from edm2lite.errors import UserError
from edm2lite.guidance.weights import Weight, weight_function

_LEAST_ABAR = 2**-24  # schedules of zero terminal SNR begin at abar = 0; so diffusers, too


def autoguide(
    pipe: DiffusionPipeline, guide: ModelMixin, weight: float | None = None, *,
    interval: tuple[float, float] | None = None, schedule: ScheduleConfig | Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Guide a pipeline by a second network, until `unguide(pipe)`.

    `pipe.unet` becomes a module that runs both networks on the same inputs. It moves with the pipeline, and is otherwise
    like the network it holds; call `unguide` before saving. Where the weight is 1 the guide is not run, and the output is
    bitwise the main's. If the network predicts a variance too (DeepFloyd IF), that of the main is taken.

    Args:
        pipe: A pipeline with a `unet`.
        guide: A worse network for the same inputs that predicts the same (epsilon or v) on the same noise schedule. It is put
            on the main's device, in its dtype.
        weight: w; 1: no guidance.
        interval: (lo, hi]: noise levels at which the weight applies; see `edm2lite.config.WeightConfig`.
        schedule: How the weight changes over the noise levels, or a table: a `ScheduleConfig`, or its fields.

    A noise level is sigma = sqrt((1 - abar) / abar), by the scheduler's `alphas_cumprod` at its timesteps. Interval and
    schedule need it; a constant weight goes with any scheduler.

    Raises:
        UserError: If there is no unet, it is guided already, the guide takes other images, or the scheduler has no
            `alphas_cumprod` and an interval or a schedule is asked for.
    """
    main = getattr(pipe, "unet", None)
    if not isinstance(main, ModelMixin):
        raise UserError(f"{type(pipe).__name__} has no unet; autoguide takes pipelines such as StableDiffusionPipeline")
    if isinstance(main, GuidedUNet):
        raise UserError("this pipeline is guided already; call unguide(pipe) first")
    fields = schedule if isinstance(schedule, ScheduleConfig) else ScheduleConfig(**(schedule or {}))
    cfg = WeightConfig(weight=weight, interval=interval, schedule=fields)
    if cfg.weight is None and cfg.schedule.table is None:
        raise UserError("autoguide got a guide but no weight; give one (1: the main alone), or a schedule with a table")
    channels = [network.config.in_channels for network in (main, guide)]
    if channels[0] != channels[1]:
        raise UserError(f"main and guide take {channels[0]} and {channels[1]} channels; they must take the same images")
    guide = guide.to(main.device) if guide.dtype == main.dtype else guide.to(main.device, main.dtype)
    pipe.unet = GuidedUNet(main, guide.eval(), _Weights(cfg, pipe))


def unguide(pipe: DiffusionPipeline) -> None:
    """Undo `autoguide`: the pipeline has its own network again.

    Raises:
        UserError: If it is not guided.
    """
    if not isinstance(pipe.unet, GuidedUNet):
        raise UserError("this pipeline is not guided; there is nothing to undo")
    pipe.unet = pipe.unet.main


class _Weights:
    """w at a timestep of a pipeline's scheduler."""

    def __init__(self, cfg: WeightConfig, pipe: DiffusionPipeline):
        self.cfg, self.pipe = cfg, pipe
        self.constant = cfg.interval is None and cfg.schedule.table is None and cfg.schedule.shape == "constant"
        self._timesteps: Tensor | None = None
        self._function: Weight | None = None
        if not self.constant:
            self._check_scheduler()

    def _check_scheduler(self) -> None:
        if not hasattr(self.pipe.scheduler, "alphas_cumprod"):
            raise UserError(
                f"{type(self.pipe.scheduler).__name__} has no alphas_cumprod, so that the noise levels of its timesteps are "
                "unknown; leave interval and schedule out, or take a scheduler such as DDIMScheduler"
            )

    @property
    def learned_variance(self) -> bool:
        """Whether the scheduler expects variances after the prediction."""
        return getattr(self.pipe.scheduler.config, "variance_type", None) in ("learned", "learned_range")

    def __call__(self, timestep: Tensor | float) -> float:
        if self.constant:
            return 1.0 if self.cfg.weight is None else self.cfg.weight
        timesteps = self.pipe.scheduler.timesteps
        if self._function is None or self._timesteps is not timesteps:  # a new run, perhaps of another scheduler
            self._check_scheduler()
            levels = {self._sigma(t) for t in timesteps.tolist()}
            self._timesteps, self._function = timesteps, weight_function(self.cfg, sorted(levels, reverse=True))
        return self._function(self._sigma(torch.as_tensor(timestep).reshape(-1)[0].item()))

    def _sigma(self, timestep: float) -> float:
        """Noise level of a timestep; linear between two, as in diffusers' EulerDiscreteScheduler."""
        alphas_cumprod = self.pipe.scheduler.alphas_cumprod
        below = min(int(timestep), len(alphas_cumprod) - 1)
        above = min(below + 1, len(alphas_cumprod) - 1)
        low, high = (_sigma_of(alphas_cumprod[i].item()) for i in (below, above))
        return low + (timestep - below) * (high - low)


def _sigma_of(abar: float) -> float:
    return float(((1 - abar) / max(abar, _LEAST_ABAR)) ** 0.5)


class GuidedUNet(ModelMixin):
    """Two networks in the place of one; its other attributes (config, dtype, ...) are those of the main.

    Args:
        main, guide: Networks with the signature of diffusers' UNet2DConditionModel.
        weights: w at a timestep.
    """

    def __init__(self, main: ModelMixin, guide: ModelMixin, weights: _Weights):
        super().__init__()
        self.main, self.guide, self.weights = main, guide, weights

    def forward(
        self, sample: Tensor, timestep: Tensor | float, *args: Any, return_dict: bool = True, **kwargs: Any
    ) -> Any:
        """The guided output; arguments are those of the main, and reach both networks."""
        extra = self.weights(timestep) - 1
        if extra == 0:
            return self.main(sample, timestep, *args, return_dict=return_dict, **kwargs)
        output = self.main(sample, timestep, *args, return_dict=True, **kwargs)
        guide = self.guide(sample, timestep, *args, return_dict=False, **kwargs)[0]
        output.sample = self._combine(output.sample, guide, sample.shape[1], extra)
        return output if return_dict else (output.sample,)

    def _combine(self, main: Tensor, guide: Tensor, in_channels: int, extra: float) -> Tensor:
        """main + (w - 1) (main - guide) on the predictions; the variances of the main, if there are any."""
        with_variance = self.weights.learned_variance or main.shape[1] == 2 * in_channels
        prediction, *variance = main.chunk(2, dim=1) if with_variance else (main,)
        prediction = prediction + extra * (prediction - guide[:, : prediction.shape[1]])
        return torch.cat([prediction, *variance], dim=1)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """A pipeline is saved with its own network alone."""
        raise UserError("a guided network cannot be saved; call unguide(pipe) first")

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "main":  # not there yet
                raise
            return getattr(self.main, name)
