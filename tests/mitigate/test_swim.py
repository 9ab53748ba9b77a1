"""SWIM's recursion and the Fisher information, against Hessians, plain loops and per-sample gradients."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference.zoo import ViewNet, architecture
from scipy.stats import spearmanr
from torch import nn
from torch.func import functional_call, grad, jacrev

import everychip as ec
from everychip import Hardware, devices, rng_for
from everychip.data import Arrays
from everychip.errors import ModelError
from everychip.mitigate.fisher import empirical_fisher
from everychip.mitigate.swim import curvature

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.1))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=rng_for(seed, "x"), dtype=torch.float64)


def diagonal_hessian(model, name, x, loss):
    """Every second derivative of the loss with respect to one weight, by brute force, its diagonal kept."""
    weight = model.get_parameter(name).detach()
    full = jacrev(grad(lambda w: loss(functional_call(model, {name: w}, (x,)))))(weight)
    n = weight.numel()
    return full.reshape(n, n).diagonal().reshape(weight.shape)


def half_square(z):
    return z.square().sum() / 2


def test_it_is_the_diagonal_hessian_of_a_relu_network_of_two_layers_and_a_square_loss():
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).double()
    x = normal(6, 5)
    found = curvature(model, x, at_output=torch.ones_like)
    assert set(found) == {"0.weight", "2.weight"}
    for name, value in found.items():
        torch.testing.assert_close(value, diagonal_hessian(model, name, x, half_square))


def test_it_is_the_diagonal_hessian_of_the_last_layer_under_cross_entropy():
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 4)).double()
    x, y = normal(6, 5), torch.tensor([0, 1, 2, 3, 0, 1])
    exact = diagonal_hessian(model, "2.weight", x, lambda z: F.cross_entropy(z, y, reduction="sum"))
    torch.testing.assert_close(curvature(model, x)["2.weight"], exact)


BLOCKS = {
    "plain": nn.Conv2d(2, 4, 3, padding=1),
    "strided": nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False),
    "grouped": nn.Conv2d(2, 4, 3, groups=2),
    "dilated": nn.Conv2d(2, 4, 2, dilation=2),
    "circular": nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"),
    "transposed": nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_it_is_the_diagonal_hessian_of_a_convolution_with_norm_relu_and_pooling(name):
    norm = nn.BatchNorm2d(4)
    with torch.no_grad():
        for values in (norm.weight, norm.bias, norm.running_mean):
            values.normal_(generator=rng_for(0, "norm"))
        norm.running_var.uniform_(0.5, 2, generator=rng_for(0, "norm"))
    model = (
        nn.Sequential(BLOCKS[name], norm, nn.LeakyReLU(0.3), nn.MaxPool2d(2), nn.Flatten()).double().eval()
    )
    x = normal(3, 2, 8, 8)
    # Different outputs see different positions, so the neglected second derivatives are zero here.
    exact = diagonal_hessian(model, "0.weight", x, half_square)
    torch.testing.assert_close(curvature(model, x, at_output=torch.ones_like)["0.weight"], exact)


def by_loops(x, layers):
    """The paper's recursion for a ReLU network under cross-entropy, image by image and weight by weight."""
    total = [np.zeros_like(w) for w, _ in layers]
    for image in x:
        inputs, h = [], image
        for n, (w, b) in enumerate(layers):
            inputs.append(h)
            h = np.array([sum(w[i, j] * h[j] for j in range(len(h))) + b[i] for i in range(len(b))])
            h = np.maximum(h, 0) if n + 1 < len(layers) else h
        p = np.exp(h) / np.exp(h).sum()
        second = p * (1 - p)
        for n in reversed(range(len(layers))):
            w = layers[n][0]
            for i in range(w.shape[0]):
                for j in range(w.shape[1]):
                    total[n][i, j] += second[i] * inputs[n][j] ** 2
            mask = inputs[n] > 0  # the input of an inner layer is what a ReLU let through
            second = np.array(
                [sum(second[i] * w[i, j] ** 2 for i in range(w.shape[0])) for j in range(w.shape[1])]
            )
            second = second * mask
    return total


def test_it_is_the_papers_recursion_through_a_deeper_network():
    model = ec.models.MLP(hidden=(6, 5, 4)).build((5,), 3, seed=1).double()
    x = normal(4, 5)
    linear = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    layers = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for _, m in linear]
    found = curvature(model, x)
    for (name, _), expected in zip(linear, by_loops(x.numpy(), layers), strict=True):
        np.testing.assert_allclose(found[f"{name}.weight"].numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d((3, 3))])
def test_an_average_of_n_divides_by_n_squared(pool):
    model = nn.Sequential(nn.Conv2d(2, 3, 1), pool, nn.Flatten()).double()
    x, h = normal(4, 2, 6, 6), normal(4, 27, seed=1).square()
    found = curvature(model, x, at_output=lambda z: h)["0.weight"]
    spread = h.reshape(4, 3, 3, 3).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) / 4**2
    torch.testing.assert_close(found[:, :, 0, 0], torch.einsum("nohw,nihw->oi", spread, x.square()))


def test_a_global_average_divides_by_the_whole_area_squared():
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    x = normal(4, 2, 6, 5)
    found = curvature(model, x, at_output=torch.ones_like)["0.weight"]
    expected = (x.square().sum(dim=(0, 2, 3)) / 30**2).expand(3, 2)
    torch.testing.assert_close(found[:, :, 0, 0], expected)


def test_two_uses_of_a_weight_add_up():
    layer = nn.Linear(4, 4)
    twice = nn.Sequential(layer, nn.ReLU(), layer).double()
    apart = nn.Sequential(layer, nn.ReLU(), copy.deepcopy(layer)).double()
    x = normal(5, 4)
    one, two = curvature(twice, x), curvature(apart, x)
    assert set(one) == {"0.weight"}
    torch.testing.assert_close(one["0.weight"], two["0.weight"] + two["2.weight"])


class Functional(nn.Module):
    """The chain written with functions, methods and sizes, as in many tutorials."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 3, 3), nn.Linear(3 * 9, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x), inplace=True), 2)
        x = F.dropout(x, training=self.training)
        return self.fc(x.view(x.size(0), -1))


def test_functions_and_work_in_place_are_as_good_as_modules():
    model = Functional().double()
    modules = nn.Sequential(model.conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), model.fc)
    x = normal(5, 1, 8, 8)
    kept, generator = x.clone(), torch.random.get_rng_state()
    one, two = curvature(model, x), curvature(modules, x)
    torch.testing.assert_close(one["conv.weight"], two["0.weight"])
    torch.testing.assert_close(one["fc.weight"], two["4.weight"])
    assert torch.equal(x, kept) and model.training
    assert torch.equal(generator, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("model", "shape"),
    [(ec.models.VGG8(width=2), (3, 8, 8)), (ec.models.LeNet(), (1, 8, 8)), (ec.models.MLP(), (1, 4, 4))],
    ids=["vgg8", "lenet", "mlp"],
)
def test_every_matrix_of_the_papers_chains_gets_a_score(model, shape):
    net = model.build(shape, 10)
    found = curvature(net, torch.randn(4, *shape, generator=rng_for(0)))
    assert set(found) == set(HARDWARE.crossbar(net))
    for name, value in found.items():
        assert value.shape == net.get_parameter(name).shape
        assert bool((value >= 0).all()) and float(value.sum()) > 0
    assert set(curvature(ViewNet(), torch.randn(2, 3, 8, 8))) == {"conv.weight", "fc.weight"}


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Leaving(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        h = self.a(x)
        self.b(h)
        return h


REFUSED = {
    "residual": (lambda: ec.models.ResNet18(width=2).build((3, 8, 8), 10), (2, 3, 8, 8), "joins or leaves"),
    "recurrent": (lambda: ec.models.GRU().build((6, 4), 3), (2, 6, 4), "selective_write_verify.score: found"),
    "attention": (lambda: architecture("attention")[0], (3, 5, 8), "selective_write_verify.score: found"),
    "smooth": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh()), (2, 4), r"1 \(Tanh\)"),
    "uneven pooling": (
        lambda: nn.Sequential(nn.AdaptiveAvgPool2d(3)),
        (2, 1, 8, 8),
        r"0 \(AdaptiveAvgPool2d\)",
    ),
    "padded pooling": (lambda: nn.Sequential(nn.AvgPool2d(2, padding=1)), (2, 1, 8, 8), "AvgPool2d"),
    "data-dependent": (Branching, (2, 4), "a forward that depends on its data"),
    "unused": (Leaving, (2, 4), "not the end of the chain"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_chain_is_refused_with_the_way_out(name):
    build, shape, words = REFUSED[name]
    model = build().train()
    with pytest.raises(ModelError, match=words) as refusal:
        curvature(model, torch.randn(*shape))
    assert str(refusal.value).endswith('score = "fisher" takes any model')
    assert model.training


def trained(seed=0):
    """A small network that has learnt most of a task, and the task."""
    model = ec.models.MLP(hidden=(24, 16)).build((10,), 4, seed=seed)
    x = torch.randn(400, 10, generator=rng_for(seed, "task"))
    y = (x @ torch.randn(10, 4, generator=rng_for(seed, "teacher"))).argmax(1)
    parameters = list(model.parameters())
    for _ in range(150):
        loss = F.cross_entropy(model(x), y)
        with torch.no_grad():
            for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.sub_(0.5 * slope)
    return model, Arrays(x, y)


def test_the_fisher_information_is_the_sum_of_squared_per_sample_gradients():
    model, data = trained()
    few = data.take(list(range(12)))

    def loss(parameters, x, y):
        return F.cross_entropy(functional_call(model, parameters, (x[None],)), y[None])

    parameters = {name: p.detach() for name, p in model.named_parameters()}
    samples = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, few.x, few.y)
    found = empirical_fisher(model, HARDWARE, few)
    assert set(found) == set(HARDWARE.crossbar(model))
    for name, value in found.items():
        torch.testing.assert_close(value, samples[name].square().sum(dim=0), rtol=1e-4, atol=1e-7)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", ["attention", "gru", "depthwise", "lstm"])
def test_the_fisher_information_takes_models_that_are_no_chain(name):
    model, x = architecture(name)
    model = nn.Sequential(model, nn.Flatten())
    data = Arrays(x, torch.zeros(len(x), dtype=torch.long)) if x.shape[0] else None
    generator = torch.random.get_rng_state()
    with torch.no_grad():  # as a caller may have it
        found = empirical_fisher(model, HARDWARE, data)
    assert set(found) == set(HARDWARE.crossbar(model))
    assert all(float(value.sum()) > 0 for value in found.values())
    assert torch.equal(generator, torch.random.get_rng_state())


def test_swim_and_fisher_rank_a_trained_networks_weights_alike():
    model, data = trained()
    swim, fisher = curvature(model, data.x), empirical_fisher(model, HARDWARE, data)
    one, two = (torch.cat([score[name].flatten() for name in swim]) for score in (swim, fisher))
    assert spearmanr(one, two).statistic > 0.8
    size = torch.cat([model.get_parameter(name).detach().abs().flatten() for name in swim])
    assert spearmanr(one, size).statistic < spearmanr(one, two).statistic - 0.2
