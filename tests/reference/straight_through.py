"""Extended straight-through estimation (arXiv 2508.11940) by hand: noisy values, clean Jacobians.

Plain NumPy. Every pre-activation is computed with the noisy weights; every derivative with respect to an
activation uses the clean weights, and every derivative with respect to a weight the (noisy) activations.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def softmax(z: Array) -> Array:
    """Row by row."""
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def cross_entropy_slope(z: Array, y: Array) -> Array:
    """The derivative of the mean cross-entropy with respect to the logits."""
    slope = softmax(z)
    slope[np.arange(len(y)), y] -= 1
    return slope / len(y)


def two_layers(x: Array, y: Array, clean: list[Array], noisy: list[Array]) -> tuple[Array, list[Array]]:
    """Linear, ReLU, linear, cross-entropy: the logits and the gradients of both matrices ([out, in])."""
    before = x @ noisy[0].T
    hidden = np.maximum(before, 0)
    z = hidden @ noisy[1].T
    dz = cross_entropy_slope(z, y)
    d_hidden = dz @ clean[1]
    d_before = d_hidden * (before > 0)
    return z, [d_before.T @ x, dz.T @ hidden]


def correlate(x: Array, kernel: Array) -> Array:
    """A convolution without padding: x [n, c, h, w], kernel [o, c, k, k]."""
    n, _, height, width = x.shape
    o, _, k, _ = kernel.shape
    y = np.zeros((n, o, height - k + 1, width - k + 1))
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            y[:, :, i, j] = np.einsum("nckl,ockl->no", x[:, :, i : i + k, j : j + k], kernel)
    return y


def kernel_slope(x: Array, dy: Array, k: int) -> Array:
    """The derivative of a convolution's output, contracted with dy, with respect to its kernel."""
    slope = np.zeros((dy.shape[1], x.shape[1], k, k))
    for i in range(dy.shape[2]):
        for j in range(dy.shape[3]):
            slope += np.einsum("no,nckl->ockl", dy[:, :, i, j], x[:, :, i : i + k, j : j + k])
    return slope


def input_slope(dy: Array, kernel: Array, shape: tuple[int, ...]) -> Array:
    """The same with respect to its input."""
    k = kernel.shape[2]
    slope = np.zeros(shape)
    for i in range(dy.shape[2]):
        for j in range(dy.shape[3]):
            slope[:, :, i : i + k, j : j + k] += np.einsum("no,ockl->nckl", dy[:, :, i, j], kernel)
    return slope


def small_convolutional_net(
    x: Array, y: Array, clean: list[Array], noisy: list[Array]
) -> tuple[Array, list[Array]]:
    """Convolution, ReLU, convolution, ReLU, flatten, linear, cross-entropy: logits and three gradients."""
    first = correlate(x, noisy[0])
    a = np.maximum(first, 0)
    second = correlate(a, noisy[1])
    b = np.maximum(second, 0)
    flat = b.reshape(len(b), -1)
    z = flat @ noisy[2].T
    dz = cross_entropy_slope(z, y)
    d_second = (dz @ clean[2]).reshape(b.shape) * (second > 0)
    d_first = input_slope(d_second, clean[1], a.shape) * (first > 0)
    return z, [
        kernel_slope(x, d_first, noisy[0].shape[2]),
        kernel_slope(a, d_second, noisy[1].shape[2]),
        dz.T @ flat,
    ]
