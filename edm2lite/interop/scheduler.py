"""EDM's Heun solver as a scheduler of diffusers, which has EDM's Euler and DPM-Solver++ but not this one."""

from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor

from edm2lite.errors import UserError
from edm2lite.sampling.noise_levels import karras_sigmas


@dataclass
class EDMHeunSchedulerOutput(BaseOutput):
    """What a step returns.

    Attributes:
        prev_sample: Sample to evaluate the model on next, [B, C, H, W].
        pred_original_sample: The denoised images that the model gave.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor


class EDMHeunScheduler(SchedulerMixin, ConfigMixin):
    """Heun's method on the probability-flow ODE (Karras et al. 2022, Algorithm 1), one evaluation of the model a step.

    Of N noise levels, `timesteps` holds every level but the first twice, 2 N - 1 in all: the model is evaluated at the end of
    a step on the result of its Euler half, then at the same level to begin the next. The last step is Euler's. `timesteps` are
    the noise levels sigma themselves. The model output is the denoised image (as of `EDM2UNet`, which does its own
    preconditioning), so `scale_model_input` changes nothing. Deterministic: no churn.

    Args:
        sigma_min, sigma_max, rho: See `edm2lite.sampling.noise_levels.karras_sigmas`.
    """

    order = 2

    @register_to_config
    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0):
        self.set_timesteps(32)

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the starting noise: the highest noise level."""
        return self._levels[0]

    @property
    def levels(self) -> list[float]:
        """The falling noise levels, without the final 0."""
        return self._levels[:-1]

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str | None = None) -> None:
        """Begin anew with so many noise levels, at least 2."""
        config = self.config
        self._levels: list[float] = karras_sigmas(
            num_inference_steps, config.sigma_min, config.sigma_max, config.rho
        ).tolist()
        levels = torch.tensor(self.levels, dtype=torch.float32)
        self.num_inference_steps = num_inference_steps
        self.timesteps = torch.cat([levels[:1], levels[1:].repeat_interleave(2)]).to(device)
        self._index = 0
        self._begun: tuple[Tensor, Tensor] | None = None

    def scale_model_input(self, sample: Tensor, timestep: Tensor | float | None = None) -> Tensor:
        """The sample as it is."""
        return sample

    def step(
        self, model_output: Tensor, timestep: Tensor | float, sample: Tensor, return_dict: bool = True
    ) -> EDMHeunSchedulerOutput | tuple[Tensor]:
        """Half a step of Heun's method; `timesteps` are to be gone through in their order.

        Args:
            model_output: Denoised images at `sample`, [B, C, H, W].
            timestep: The noise level of `sample`: the next of `timesteps`.
            sample: What the model was evaluated on.
            return_dict: Return an `EDMHeunSchedulerOutput`, not a tuple.
        """
        self._check_order(timestep)
        i, second = divmod(self._index, 2)
        sigma, sigma_next = self._levels[i], self._levels[i + 1]
        if second:
            assert self._begun is not None
            start, d = self._begun
            following = start + (sigma_next - sigma) * (d + (sample - model_output) / sigma_next) / 2
        else:
            d = (sample - model_output) / sigma
            self._begun = sample, d
            following = sample + (sigma_next - sigma) * d
        self._index += 1
        return EDMHeunSchedulerOutput(following, model_output) if return_dict else (following,)

    def _check_order(self, timestep: Tensor | float) -> None:
        if self._index == len(self.timesteps):
            raise UserError(f"all {self._index} timesteps are done; call set_timesteps before the next image")
        expected = self.timesteps[self._index].item()
        if abs(float(timestep) - expected) > 1e-6 * expected:
            raise UserError(
                f"timestep is {float(timestep):g} but the next is {expected:g}; go through timesteps in order"
            )
