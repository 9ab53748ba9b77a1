"""What of a law a clip can take away, and what `resilient` makes of it."""

from __future__ import annotations

import pytest
import torch

from everychip import Hardware, devices, methods
from everychip.methods.resilient import share_of_range


def share_by_hand(device: devices.Device) -> float:
    """E over u of dσ_W/dM at a fixed weight, by differences of the law itself, over σ's rms."""
    hardware, step = Hardware(device=device, mapping="direct"), 1e-3
    u = torch.linspace(0.0, 1.0, 2001, dtype=torch.float64)

    def sigma(largest: float) -> torch.Tensor:
        weights = torch.cat([u * (1 - 2 * step), torch.tensor([largest], dtype=torch.float64)])
        return hardware.mapping.std(weights.unsqueeze(0), hardware.device)[0, :-1]

    slope = (sigma(1 + step) - sigma(1 - step)) / (2 * step)
    return float(slope.mean() / sigma(1.0).square().mean().sqrt())


@pytest.mark.parametrize(
    "device",
    [
        devices.Gaussian(sigma=0.1),
        devices.Mismatch(sigma=0.2),
        devices.LogNormal(sigma=0.2),
        devices.preset("PCM-Nandakumar"),
        devices.preset("Hermes-1"),
    ],
    ids=lambda device: device.kind,
)
def test_the_share_is_how_the_noise_shrinks_with_the_largest_weight(device):
    found = share_of_range(Hardware(device=device, mapping="direct"))
    assert found == pytest.approx(share_by_hand(device), abs=0.02)


@pytest.mark.parametrize("alpha_of", ["network", "layer"])
@pytest.mark.parametrize("device", [devices.Mismatch(sigma=0.4), devices.LogNormal(sigma=0.4)])
def test_a_multiplicative_law_is_not_clipped_for_its_noise(device, alpha_of):
    chosen = methods.Resilient(alpha_of=alpha_of).resolved(Hardware(device=device)).constraint
    alpha = chosen.alpha if alpha_of == "network" else chosen.alpha(torch.randn(50, 50))
    assert alpha == 2.5


@pytest.mark.parametrize("name", ["RRAM1", "FeFET6"])
@pytest.mark.parametrize(("sigma", "alphas"), [(0.1, (2.0575, 1.8571)), (0.2, (1.3, 1.3)), (0.4, (1.3, 1.3))])
def test_laws_of_the_committed_results_keep_their_alpha(name, sigma, alphas):
    chosen = methods.Resilient().resolved(Hardware(device=devices.preset(name, sigma=sigma)))
    assert chosen.alpha == alphas[name == "FeFET6"]
