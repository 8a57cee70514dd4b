"""That it is torch's Adam; what it leaves out is in tests/system/test_architecture.py."""

import pytest
import torch
from torch import Tensor, nn

from agents.adam import Adam


@pytest.mark.parametrize("fused", [True, False])
def test_it_is_torchs_to_the_bit_through_a_saved_state_too(fused: bool) -> None:
    def trained(kind: type[torch.optim.Adam]) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        parameter = nn.Parameter(torch.randn(300, generator=generator))
        optimizer = kind([parameter], lr=1e-2, eps=1e-5, fused=fused)
        for _ in range(3):
            for _ in range(3):
                optimizer.zero_grad()
                assert parameter.grad is None
                parameter.grad = torch.randn(300, generator=generator)
                optimizer.step()
            saved = optimizer.state_dict()
            optimizer = kind([parameter], fused=fused)
            optimizer.load_state_dict(saved)
        return parameter.detach(), optimizer.state[parameter]["exp_avg_sq"]

    for ours, theirs in zip(trained(Adam), trained(torch.optim.Adam), strict=True):
        assert torch.equal(ours, theirs)
