"""Random weights with which every layer of a network matters."""

import torch
from torch import nn


def randomise(net: nn.Module, seed: int = 0) -> None:
    """Keep activations of the order of 1: weights by He's rule, statistics, gains and biases around 1 and 0."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith(("running_var", "bn.weight", "gamma")):
                tensor.uniform_(0.7, 1.3, generator=g)
            elif tensor.ndim > 1:
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=g)
            elif tensor.is_floating_point():
                tensor.normal_(0, 0.1, generator=g)


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    """uint8 noise."""
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
