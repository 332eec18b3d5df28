"""Convolution, pooling, padding and resizing: what no table row says. Errors, layers, the memory of an update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet import nn
from ddpnet.nn import functional as F


def normal(*shape: int) -> Any:
    return ddpnet.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: F.conv2d(normal(2, 3), normal(4, 3, 2, 2)), RuntimeError, "Expected 3D"),
    (lambda: F.conv1d(normal(1, 3, 4), normal(4, 2, 2)), RuntimeError, "to have 2 channels"),
    (lambda: F.conv1d(normal(1, 2, 4), normal(4, 2, 2), normal(3)), RuntimeError, "bias to be 1-dimensional with 4"),
    (lambda: F.conv1d(normal(1, 2, 4), normal(4, 2, 5)), RuntimeError, "Kernel size can't be greater"),
    (lambda: F.conv1d(normal(1, 2, 4), normal(4, 2, 2), padding=-1), RuntimeError, "negative padding"),
    (lambda: F.conv1d(normal(1, 2, 4), normal(4, 2, 2), stride=0), RuntimeError, "non-positive stride"),
    (lambda: F.conv1d(normal(1, 2, 4), normal(4, 2, 2), dilation=0), RuntimeError, "dilation"),
    (lambda: F.conv1d(normal(1, 2, 4), normal(4, 2, 2), groups=0), RuntimeError, "groups"),
    (lambda: F.conv1d(normal(1, 2, 4), normal(4, 2, 2), stride=2, padding="same"), RuntimeError, "strided"),
    (lambda: F.conv1d(normal(1, 2, 4), normal(4, 2, 2), padding="full"), RuntimeError, "Invalid padding string"),
    (lambda: F.conv1d(normal(1, 2, 4), normal(4, 2, 2).double()), RuntimeError, "should be the same"),
    (lambda: F.conv1d(normal(1, 2, 4).int(), normal(4, 2, 2).int()), NotImplementedError, "not implemented for 'Int'"),
    (lambda: F.conv2d(normal(1, 2, 4, 4), normal(4, 2, 2, 2), stride=(1, 2, 3)), RuntimeError, "stride"),
    (lambda: F.conv_transpose1d(normal(1, 2, 4), normal(2, 3, 2), output_padding=1), RuntimeError, "output padding"),
    (lambda: F.conv_transpose1d(normal(1, 2, 1), normal(2, 3, 2), padding=2), RuntimeError, "too small"),
    (lambda: F.conv_transpose1d(normal(1, 2, 4), normal(2, 3, 2), padding="same"), TypeError, "padding"),
    (lambda: nn.Conv1d(3, 4, 2, groups=2), ValueError, "in_channels must be divisible"),
    (lambda: nn.Conv1d(3, 4, 2, padding_mode="edge"), ValueError, "padding_mode must be one of"),
    (lambda: nn.Conv1d(3, 4, 2, stride=2, padding="same"), ValueError, "strided"),
    (lambda: nn.ConvTranspose1d(3, 4, 2, padding_mode="reflect"), ValueError, 'Only "zeros" padding mode'),
    (lambda: nn.ConvTranspose1d(3, 4, 2)(normal(1, 3, 4), output_size=[9]), ValueError, "valid sizes range"),
    (lambda: F.max_pool2d(normal(1, 1, 4, 4), 2, padding=2), RuntimeError, "at most half"),
    (lambda: F.max_pool2d(normal(1, 1, 4, 4), 5), RuntimeError, "too small"),
    (lambda: F.max_pool2d(normal(1, 1, 4, 4), 2, stride=0), RuntimeError, "stride"),
    (lambda: F.max_pool1d(normal(1, 0, 4), 2), RuntimeError, "Expected 2D or 3D"),
    (lambda: F.avg_pool2d(normal(1, 1, 4, 4), 2, divisor_override=0), RuntimeError, "divisor"),
    (lambda: F.adaptive_avg_pool2d(normal(2, 2), 2), ValueError, "at least 3"),
    (lambda: F.adaptive_avg_pool2d(normal(1, 2, 2, 2), -1), RuntimeError, "greater than or equal to 0"),
    (lambda: F.max_unpool1d(normal(1, 1, 2), normal(1, 1, 2), 2), RuntimeError, "int64"),
    (lambda: F.max_unpool1d(normal(1, 1, 1), ddpnet.tensor([[[9]]]), 2), RuntimeError, "invalid max index"),
    (lambda: F.max_unpool1d(normal(1, 1, 1), ddpnet.tensor([[[0]]]), 2, output_size=[9]), ValueError, "output_size"),
    (lambda: F.pad(normal(2, 3), (1,)), RuntimeError, "divisible by 2"),
    (lambda: F.pad(normal(3), (1, 1, 1, 1)), RuntimeError, "no more than twice"),
    (lambda: F.pad(normal(2, 3), (-2, -2)), RuntimeError, "negative output size"),
    (lambda: F.pad(normal(2, 3), (3, 0), "reflect"), RuntimeError, "should be less than"),
    (lambda: F.pad(normal(2, 3), (4, 0), "circular"), RuntimeError, "wrapping around"),
    (lambda: F.pad(normal(3), (1, 1), "reflect"), NotImplementedError, "Only 2D, 3D, 4D, 5D"),
    (lambda: F.pad(normal(2, 3), (1, 1), "mirror"), NotImplementedError, "mirror"),
    (lambda: F.interpolate(normal(1, 1, 4)), ValueError, "either size or scale_factor"),
    (lambda: F.interpolate(normal(1, 1, 4), 2, 2.0), ValueError, "only one of size"),
    (lambda: F.interpolate(normal(1, 1, 4), (2, 2)), ValueError, "same number of spatial dimensions"),
    (lambda: F.interpolate(normal(1, 1, 4), 2, align_corners=True), ValueError, "align_corners"),
    (lambda: F.interpolate(normal(1, 1, 4), 2, mode="bilinear"), NotImplementedError, "3D"),
    (lambda: F.interpolate(normal(1, 1, 4), 2, antialias=True), ValueError, "Anti-alias"),
    (lambda: F.unfold(normal(1, 1, 2, 2), 3), RuntimeError, "at least one"),
    (lambda: F.fold(normal(1, 5, 4), 3, 2), RuntimeError, "divisible by the product"),
    (lambda: F.fold(normal(1, 4, 5), 3, 2), RuntimeError, "to match the calculated number"),
    (lambda: F.pixel_shuffle(normal(1, 3, 2, 2), 2), RuntimeError, "divisible by the square"),
    (lambda: F.channel_shuffle(normal(1, 3, 2, 2), 2), RuntimeError, "divisible by groups"),
    (lambda: F.grid_sample(normal(1, 1, 2, 2), normal(1, 2, 2, 2), "cubic"), ValueError, "expected mode"),
    (lambda: F.grid_sample(normal(1, 1, 2, 2), normal(2, 2, 2, 2), align_corners=True), RuntimeError, "same batch"),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number: int) -> None:
    call, kind, text = ERRORS[number]
    with pytest.raises(kind, match=text):
        call()


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [(2, 1), "same"])
def test_padding_modes_of_convolution_layers(mode: str, padding: Any) -> None:
    torch = pytest.importorskip("torch")
    options = {"padding": padding, "padding_mode": mode, "dilation": 2}
    ours, theirs = nn.Conv2d(2, 3, (2, 3), **options), torch.nn.Conv2d(2, 3, (2, 3), **options)
    assert repr(ours) == repr(theirs)
    theirs.load_state_dict({name: torch.from_numpy(x.numpy()) for name, x in ours.state_dict().items()})
    x = normal(2, 2, 6, 7)
    np.testing.assert_allclose(
        ours(x).detach().numpy(), theirs(torch.from_numpy(x.numpy())).detach().numpy(), rtol=1e-4, atol=1e-5
    )


def test_output_size_of_transposed_convolution() -> None:
    up = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    down = nn.Conv2d(3, 2, 3, stride=2, padding=1)
    x = normal(1, 3, 6, 7)
    assert up(down(x), output_size=x.size()).shape == x.shape
    assert up(down(x), [5, 8]).shape == (1, 3, 5, 8)
    assert up(down(x)).shape == (1, 3, 5, 7)


@pytest.mark.parametrize("layer", [nn.Conv1d(6, 9, 5, groups=3), nn.ConvTranspose2d(6, 9, (2, 3), groups=3)])
def test_initial_values(layer: Any) -> None:
    """Weights and biases are uniform up to 1 / sqrt(fan in), where the fan in is that of PyTorch's shapes."""
    bound = 1 / np.sqrt(np.prod(layer.weight.shape[1:]))
    for values in (layer.weight.detach().numpy(), layer.bias.detach().numpy()):
        assert np.abs(values).max() <= bound
    assert np.abs(layer.weight.detach().numpy()).max() > 0.9 * bound


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_computed_in_float32(dtype: str) -> None:
    kind = getattr(ddpnet, dtype)
    x, w = normal(1, 512, 3).to(kind), normal(4, 512, 3).to(kind)
    for call in (F.conv1d, lambda x, w: F.conv_transpose1d(x.transpose(1, 2)[:, :3], w.transpose(0, 2)[:3, :, :2])):
        exact = call(x.float(), w.float())
        assert call(x, w).dtype is kind
        np.testing.assert_array_equal(call(x, w).float().numpy(), exact.to(kind).float().numpy())


def test_gradient_penalty_through_a_convolutional_critic() -> None:
    """As a Wasserstein GAN needs it (Gulrajani et al. 2017): the gradient of a gradient's norm reaches the weights."""
    torch = pytest.importorskip("torch")

    def penalty(torch: Any, x: Any, weights: list[Any]) -> Any:
        f = torch.nn.functional
        y = f.leaky_relu(f.conv2d(x, weights[0], weights[1], stride=2, padding=1), 0.2)
        y = f.max_pool2d(f.conv_transpose2d(y, weights[2], stride=2), 2)
        y = f.interpolate(y, scale_factor=2, mode="bilinear") ** 2
        (g,) = torch.autograd.grad(f.avg_pool2d(f.pad(y, (1, 1, 1, 1), "reflect"), 2).sum(), x, create_graph=True)
        return ((g.flatten(1).norm(dim=1) - 1) ** 2).mean()

    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((2, 3, 8, 8), (4, 3, 3, 3), (4,), (4, 2, 2, 2))]
    results = []
    for library in (ddpnet, torch):
        x, *weights = (library.tensor(a, requires_grad=True) for a in arrays)
        value = penalty(library, x, weights)
        value.backward()
        results.append([value.item(), *(w.grad.numpy() for w in weights)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_fractional_pooling_draws_its_own_numbers() -> None:
    x = normal(2, 3, 9, 8).requires_grad_()
    ddpnet.manual_seed(1)
    values, indices = F.fractional_max_pool2d(x, (2, 3), output_ratio=0.5, return_indices=True)
    assert values.shape == (2, 3, 4, 4)
    np.testing.assert_array_equal(
        np.take_along_axis(x.detach().numpy().reshape(2, 3, 72), indices.numpy().reshape(2, 3, 16), 2).reshape(
            2, 3, 4, 4
        ),
        values.detach().numpy(),
    )
    values.sum().backward()
    assert x.grad.sum().item() == values.numel()
    with pytest.raises(ValueError, match="output_ratio must be between"):
        nn.FractionalMaxPool2d(2, output_ratio=1.5)
