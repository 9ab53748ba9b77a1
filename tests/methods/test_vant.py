"""The σ of each batch is drawn from the folded normal law, and its chip shows it."""

from __future__ import annotations

import numpy as np
import pytest
from reference import losses
from reference.statistics import assert_moments
from scipy.stats import foldnorm, kstest

from everychip import Hardware, devices, methods
from everychip.errors import ConfigError


@pytest.mark.parametrize(("alpha", "theta"), [(1.0, 0.1), (0.5, 0.3), (2.0, 0.0)])
def test_the_sigmas_of_batches_are_folded_normal(setting, alpha, theta):
    method = methods.VANT(alpha=alpha, theta=theta)
    objective = method.bind(setting.model, setting.hardware, seed=5)
    drawn = []
    for objective.step in range(2000):
        drawn.append(method.sigma(objective))
    if theta == 0:
        assert drawn == pytest.approx([alpha * 0.2] * 2000)
        return
    law = foldnorm(alpha * 0.2 / theta, scale=theta)
    assert_moments(np.array(drawn), mean=law.mean(), std=law.std())
    assert kstest(drawn, law.cdf).pvalue > 0.01


def test_the_chip_of_a_step_shows_its_sigma_and_the_loss_is_its_cross_entropy(setting, chips_run):
    method = methods.VANT(alpha=1.0, theta=0.2)
    objective = method.bind(setting.model, setting.hardware, seed=3)
    sigmas = set()
    for _ in range(3):
        chips_run.clear()
        loss = float(objective(setting.x, setting.y).detach())
        (chip,) = chips_run
        sigma = method.sigma(objective)
        assert setting.sigma("hidden.weight", chip) == pytest.approx(sigma, rel=0.06)
        z = setting.logits(chip).double().numpy()
        assert loss == pytest.approx(losses.cross_entropy(z, setting.labels), rel=1e-4)
        sigmas.add(sigma)
        objective.after_step()
    assert len(sigmas) == 3


def test_it_needs_a_device_with_a_nominal_sigma(setting):
    with pytest.raises(ConfigError, match="no nominal σ") as error:
        methods.VANT().bind(setting.model, Hardware(device=devices.Ideal()))
    assert "\n" not in str(error.value)
