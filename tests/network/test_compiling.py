"""How torch.compile is set up; what it makes is seen where it is used."""

import torch

from edm2lite.network.compiling import compiled


def test_torch_may_compile_each_block_and_leaves_recomputing_under_ddp_alone():
    compiled(torch.abs, "a function")
    limits = torch._dynamo.config.recompile_limit, torch._dynamo.config.accumulated_recompile_limit
    assert min(limits) > 1000 and torch._dynamo.config.optimize_ddp is False
