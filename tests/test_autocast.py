"""Inside `autocast` each operation runs in PyTorch's dtype for it, with PyTorch's values."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet import nn
from ddpnet.utils.checkpoint import checkpoint

RNG = np.random.default_rng(6)
SQUARE, ROWS, IMAGES = RNG.standard_normal((4, 4)), RNG.standard_normal((3, 4, 4)), RNG.standard_normal((2, 3, 6, 6))
KERNEL, VOLUME = RNG.standard_normal((3, 3, 2, 2)), RNG.standard_normal((2, 3, 4, 4, 4))

Call = Callable[[Any, Any], Any]
"""A function of the module `torch` (ours or PyTorch's) and of what makes a tensor of an array."""

CALLS: dict[str, Call] = {
    "mm": lambda t, x: t.mm(x(SQUARE), x(SQUARE)),
    "matmul": lambda t, x: t.matmul(x(ROWS), x(SQUARE)),
    "@": lambda t, x: x(ROWS) @ x(SQUARE),
    "method": lambda t, x: x(SQUARE).mm(x(SQUARE)),
    "matrix and vector": lambda t, x: x(SQUARE) @ x(SQUARE[0]),
    "mv": lambda t, x: t.mv(x(SQUARE), x(SQUARE[0])),
    "dot": lambda t, x: t.dot(x(SQUARE[1]), x(SQUARE[0])),
    "outer": lambda t, x: t.outer(x(SQUARE[1]), x(SQUARE[0])),
    "bmm": lambda t, x: t.bmm(x(ROWS), x(ROWS)),
    "addmm": lambda t, x: t.addmm(x(SQUARE), x(SQUARE), x(SQUARE), beta=0.5),
    "addbmm": lambda t, x: t.addbmm(x(SQUARE), x(ROWS), x(ROWS)),
    "baddbmm": lambda t, x: t.baddbmm(x(ROWS), x(ROWS), x(ROWS)),
    "einsum": lambda t, x: t.einsum("bij,jk->bik", x(ROWS), x(SQUARE)),
    "tensordot": lambda t, x: t.tensordot(x(ROWS), x(SQUARE), 1),
    "linear": lambda t, x: t.nn.functional.linear(x(ROWS), x(SQUARE), x(SQUARE[0])),
    "float64 stays": lambda t, x: t.mm(x(SQUARE).double(), x(SQUARE).double()),
    "conv1d": lambda t, x: t.nn.functional.conv1d(x(IMAGES[:, :, 0]), x(KERNEL[..., 0])),
    "conv2d": lambda t, x: t.nn.functional.conv2d(x(IMAGES), x(KERNEL), padding=1),
    "conv3d": lambda t, x: t.nn.functional.conv3d(x(VOLUME), x(KERNEL)[..., None]),
    "conv_transpose1d": lambda t, x: t.nn.functional.conv_transpose1d(x(IMAGES[:, :, 0]), x(KERNEL[..., 0])),
    "conv_transpose2d": lambda t, x: t.nn.functional.conv_transpose2d(x(IMAGES), x(KERNEL)),
    "prelu": lambda t, x: t.nn.functional.prelu(x(IMAGES), x(SQUARE[0, :3])),
    "attention": lambda t, x: t.nn.functional.scaled_dot_product_attention(x(ROWS), x(ROWS), x(ROWS)),
    "mse_loss": lambda t, x: t.nn.functional.mse_loss(x(SQUARE), x(SQUARE.T)),
    "l1_loss": lambda t, x: t.nn.functional.l1_loss(x(SQUARE), x(SQUARE.T)),
    "smooth_l1_loss": lambda t, x: t.nn.functional.smooth_l1_loss(x(SQUARE), x(SQUARE.T)),
    "huber_loss": lambda t, x: t.nn.functional.huber_loss(x(SQUARE), x(SQUARE.T)),
    "cross_entropy": lambda t, x: t.nn.functional.cross_entropy(x(SQUARE), t.tensor([0, 1, 2, 3])),
    "nll_loss": lambda t, x: t.nn.functional.nll_loss(x(SQUARE), t.tensor([0, 1, 2, 3])),
    "bce": lambda t, x: t.nn.functional.binary_cross_entropy(x(abs(SQUARE) % 1), x(abs(SQUARE) % 1)),
    "bce with logits": lambda t, x: t.nn.functional.binary_cross_entropy_with_logits(x(SQUARE), x(abs(SQUARE) % 1)),
    "kl_div": lambda t, x: t.nn.functional.kl_div(x(SQUARE), x(abs(SQUARE)), reduction="batchmean"),
    "poisson": lambda t, x: t.nn.functional.poisson_nll_loss(x(SQUARE), x(abs(SQUARE))),
    "cosine loss": lambda t, x: t.nn.functional.cosine_embedding_loss(x(SQUARE), x(SQUARE.T), x(np.sign(SQUARE[0]))),
    "hinge": lambda t, x: t.nn.functional.hinge_embedding_loss(x(SQUARE), x(np.sign(SQUARE))),
    "ranking": lambda t, x: t.nn.functional.margin_ranking_loss(x(SQUARE[0]), x(SQUARE[1]), x(np.sign(SQUARE[2]))),
    "triplet": lambda t, x: t.nn.functional.triplet_margin_loss(x(SQUARE), x(SQUARE.T), x(-SQUARE)),
    "soft margin": lambda t, x: t.nn.functional.soft_margin_loss(x(SQUARE), x(np.sign(SQUARE))),
    "cdist": lambda t, x: t.cdist(x(SQUARE), x(SQUARE.T)),
    "prod": lambda t, x: t.prod(x(SQUARE), 1),
    "quantile": lambda t, x: t.quantile(x(SQUARE), 0.3, 1),
    "index_copy": lambda t, x: x(SQUARE).index_copy(0, t.tensor([1, 2]), x(SQUARE[:2]).float()),
    "adaptive_avg_pool3d": lambda t, x: t.nn.functional.adaptive_avg_pool3d(x(VOLUME), 2),
    "svd": lambda t, x: t.linalg.svdvals(x(SQUARE)) if hasattr(t.linalg, "svdvals") else t.linalg.svd(x(SQUARE))[1],
    "multi_margin": lambda t, x: t.nn.functional.multi_margin_loss(x(SQUARE), t.tensor([0, 1, 2, 3])),
    "ctc": lambda t, x: t.nn.functional.ctc_loss(
        x(ROWS), t.tensor([[1, 2]] * 4), t.tensor([3] * 4), t.tensor([1, 2, 1, 2])
    ),
    "bilinear": lambda t, x: t.nn.functional.bilinear(x(SQUARE), x(SQUARE), x(ROWS)),
    "group_norm": lambda t, x: t.nn.functional.group_norm(x(SQUARE), 2),
    "batch_norm": lambda t, x: t.nn.functional.batch_norm(x(IMAGES), None, None, training=True),
    "trace": lambda t, x: t.trace(x(SQUARE)),
    "inverse": lambda t, x: t.linalg.inv(x(SQUARE)),
    "solve": lambda t, x: t.linalg.solve(x(SQUARE), x(SQUARE)),
    "reflection": lambda t, x: t.nn.functional.pad(x(IMAGES), (1, 1, 1, 1), mode="reflect"),
    "replication": lambda t, x: t.nn.functional.pad(x(IMAGES), (1, 1, 1, 1), mode="replicate"),
    "zero padding": lambda t, x: t.nn.functional.pad(x(IMAGES), (1, 1)),
    "interpolate": lambda t, x: t.nn.functional.interpolate(x(IMAGES), scale_factor=2),
    "cat": lambda t, x: t.cat([x(SQUARE), x(SQUARE).bfloat16()]),
    "stack": lambda t, x: t.stack([x(SQUARE), x(SQUARE).bfloat16().float()]),
    "softmax": lambda t, x: t.softmax(x(SQUARE), 1),
    "log_softmax": lambda t, x: t.nn.functional.log_softmax(x(SQUARE), 1),
    "layer_norm": lambda t, x: t.nn.functional.layer_norm(x(SQUARE), (4,)),
    "max_pool2d": lambda t, x: t.nn.functional.max_pool2d(x(IMAGES), 2),
    "sum": lambda t, x: x(SQUARE).sum(),
    "exp": lambda t, x: x(SQUARE).exp(),
    "add": lambda t, x: x(SQUARE) + x(SQUARE).bfloat16(),
    "relu": lambda t, x: t.relu(x(SQUARE)),
}  # fmt: skip

TOLERANCES = {"bfloat16": 4e-2, "float16": 5e-3}


def values(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().double().numpy())


@pytest.mark.parametrize("given", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("fast", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CALLS)
def test_operations(name: str, fast: str, given: str) -> None:
    torch = pytest.importorskip("torch")
    found: list[Any] = []
    for library in (torch, ddpnet):
        kind = getattr(library, given)
        with library.autocast("cpu", getattr(library, fast)):
            try:
                found.append(CALLS[name](library, lambda array, t=library, k=kind: t.tensor(array, dtype=k)))
            except RuntimeError as error:
                if library is ddpnet:
                    raise
                pytest.skip(f"PyTorch: {error}")
    assert str(found[0].dtype) == str(found[1].dtype)
    if name == "bilinear":  # of which PyTorch computes a part in the fast dtype
        given = fast
    tolerance = max(TOLERANCES.get(given, 1e-5), TOLERANCES.get(str(found[0].dtype).removeprefix("torch."), 1e-5))
    np.testing.assert_allclose(values(found[1]), values(found[0]), rtol=tolerance, atol=tolerance)


MODELS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "mlp": (lambda nn: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3)), (5, 4)),
    "convolutions": (
        lambda nn: nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
        ),
        (2, 3, 6, 6),
    ),
    "lstm": (lambda nn: nn.LSTM(4, 3, batch_first=True), (2, 5, 4)),
    "gru": (lambda nn: nn.GRU(4, 3), (2, 5, 4)),
    "rnn": (lambda nn: nn.RNN(4, 3), (2, 5, 4)),
    "attention": (lambda nn: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), (2, 5, 4)),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    """Loss and gradients of a step; the gradients are of the dtype of the parameters.

    The median over several weights: a value that fast dtypes put on the other side of a ReLU's bend changes a lot.
    """
    torch = pytest.importorskip("torch")
    make, shape = MODELS[name]
    differences = []
    for seed in range(7):
        torch.manual_seed(seed)
        weights = make(torch.nn).state_dict()
        found = [step(library, make(library.nn), weights, shape) for library in (torch, ddpnet)]
        assert found[0][0] == found[1][0]
        differences.append([distance(*pair) for pair in zip(found[1][1], found[0][1], strict=True)])
    loss, *gradients = np.median(differences, axis=0)
    assert loss < 2e-2
    assert max(gradients) < 5e-2


def step(library: Any, model: Any, weights: dict[str, Any], shape: tuple[int, ...]) -> tuple[list[str], list[Any]]:
    """The dtypes of output, loss and gradients, and the values of loss and gradients."""
    model.load_state_dict({name: library.tensor(value.numpy()) for name, value in weights.items()})
    x = library.tensor(np.random.default_rng(7).standard_normal(shape), dtype=library.float32)
    with library.autocast("cpu", library.bfloat16):
        output = model(x)
        output = output[0] if isinstance(output, tuple) else output
        loss = library.nn.functional.mse_loss(output, library.zeros_like(output))
    loss.backward()
    found = [loss, *(parameter.grad for parameter in model.parameters())]
    return [str(each.dtype) for each in (output, *found)], [values(each) for each in found]


def distance(ours: Any, theirs: Any) -> float:
    """The largest difference of two arrays, as a part of the largest value."""
    return float(abs(ours - theirs).max() / (abs(theirs).max() + 1e-3))


def test_nesting_and_state() -> None:
    x = ddpnet.ones(2, 2)
    assert not ddpnet.is_autocast_enabled("cpu")
    with ddpnet.autocast("cpu"):
        assert ddpnet.is_autocast_enabled("cpu")
        assert not ddpnet.is_autocast_enabled()
        assert ddpnet.get_autocast_dtype("cpu") is ddpnet.bfloat16
        assert (x @ x).dtype is ddpnet.bfloat16
        with ddpnet.autocast("cpu", enabled=False):
            assert (x @ x).dtype is ddpnet.float32
        with ddpnet.autocast("cpu", ddpnet.float16):
            assert (x @ x).dtype is ddpnet.float16
        found = []
        thread = threading.Thread(target=lambda: found.append((x @ x).dtype))
        thread.start()
        thread.join()
        assert found == [ddpnet.float32]
        assert (x @ x).dtype is ddpnet.bfloat16
    assert (x @ x).dtype is ddpnet.float32


def test_decorator() -> None:
    @ddpnet.autocast("cpu", dtype=ddpnet.float16)
    def product(x: Any) -> Any:
        return x @ x

    assert product(ddpnet.ones(2, 2)).dtype is ddpnet.float16
    with pytest.raises(TypeError, match="requires a callable"):
        ddpnet.autocast("cpu")(3)


def test_a_parameter_is_converted_once() -> None:
    layer = nn.Linear(3, 3)
    with ddpnet.autocast("cpu"):
        y = layer(layer(ddpnet.ones(2, 3)))
        with ddpnet.no_grad():
            assert layer(ddpnet.ones(2, 3)).grad_fn is None
            layer.weight.copy_(layer.weight * 0)
            assert layer(ddpnet.ones(2, 3)).float().tolist() == layer.bias.bfloat16().float().expand(2, 3).tolist()
    y.sum().backward()
    assert layer.weight.grad.dtype is ddpnet.float32


def test_a_checkpoint_computes_again_as_before() -> None:
    found = []
    for again in (False, True):
        ddpnet.manual_seed(3)
        layers = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
        x = ddpnet.ones(2, 3, requires_grad=True)
        with ddpnet.autocast("cpu"):
            y = layers(x)
            y = checkpoint(layers, y, use_reentrant=False) if again else layers(y)
        y.float().sum().backward()
        found.append([x.grad, *(p.grad for p in layers.parameters())])
    for a, b in zip(*found, strict=True):
        assert ddpnet.allclose(a, b, atol=0.02)


def test_what_is_refused() -> None:
    with pytest.raises(RuntimeError, match="unsupported autocast device_type 'tpu'"):
        ddpnet.autocast("tpu")
    with pytest.raises(ValueError, match="Expected `device_type` of type `str`"):
        ddpnet.autocast(3)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="only supports dtypes of"), ddpnet.autocast("cpu", ddpnet.float64):
        assert not ddpnet.is_autocast_enabled("cpu")


def test_older_names() -> None:
    with pytest.warns(FutureWarning, match="is deprecated"), ddpnet.cpu.amp.autocast():
        assert ddpnet.is_autocast_cpu_enabled()
    if not ddpnet.cuda.is_available():
        with pytest.warns() as caught, ddpnet.cuda.amp.autocast():
            assert not ddpnet.is_autocast_enabled()
        assert {w.category for w in caught} == {FutureWarning, UserWarning}


def test_functions_of_users() -> None:
    seen = []

    class Square(ddpnet.autograd.Function):
        @staticmethod
        @ddpnet.amp.custom_fwd(device_type="cpu")
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x @ x

        @staticmethod
        @ddpnet.amp.custom_bwd(device_type="cpu")
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            seen.append((x @ x).dtype)
            return 2 * g.float() * x

    class InFull(ddpnet.autograd.Function):
        @staticmethod
        @ddpnet.amp.custom_fwd(device_type="cpu", cast_inputs=ddpnet.float32)
        def forward(ctx: Any, x: Any) -> Any:
            return x @ x

    x = ddpnet.ones(2, 2, requires_grad=True)
    with ddpnet.autocast("cpu"):
        y = Square.apply(x)
        assert InFull.apply(x.bfloat16()).dtype is ddpnet.float32
    assert y.dtype is ddpnet.bfloat16
    y.sum().backward()
    assert seen == [ddpnet.bfloat16]
