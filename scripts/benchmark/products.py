"""The matrix products of a training step: their shapes, their arithmetic, and their time alone.

Each layer has three: its output, the gradient of its weight, and, where somebody wants it, the gradient of its input.
A product of (m, k) and (k, n) takes 2 m n k operations, so that all three of a layer take the same:

    Linear      rows x in x out
    Conv2d      images x (output pixels) x (in channels x kernel) x (out channels), a product an image
    LSTM        steps x batch x 4 hidden x in, and the same with hidden in place of in
    attention   two products forward and four backward, of (T, d) and (d, T) a head; of a causal one half of each

A convolution that gets by with fewer operations (Winograd's) can be faster than its products as they are counted here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from models import CASES


class Product(NamedTuple):
    """`count` products of float32 matrices (m, k) and (k, n)."""

    count: int
    m: int
    n: int
    k: int

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.count * self.m * self.n * self.k


LARGE = Product(1, 1024, 1024, 1024)
"""What the machine's speed is measured with."""


def operations(products: list[Product]) -> int:
    """Multiplications and additions of all of them."""
    return sum(product.operations for product in products)


def of_step(torch: Any, case: str, batch: int) -> list[Product]:
    """The products of one step of a case in `models.py`, found by a forward pass that is looked at layer by layer."""
    torch.manual_seed(0)
    build, make_batch, *_ = CASES[case]
    model, (inputs, _) = build(torch), make_batch(torch, batch)
    found: list[Product] = []
    nn, F = torch.nn, torch.nn.functional
    rules = {nn.Linear: _linear, nn.Conv2d: _convolution, nn.LSTM: _lstm}

    def look(layer: Any, given: Any, output: Any) -> None:
        found.extend(rules[type(layer)](layer, given[0], output))

    handles = [layer.register_forward_hook(look) for layer in model.modules() if type(layer) in rules]
    attention = F.scaled_dot_product_attention

    def attend(q: Any, k: Any, v: Any, **options: Any) -> Any:
        found.extend(_attention(q, k, options.get("is_causal", False)))
        return attention(q, k, v, **options)

    F.scaled_dot_product_attention = attend
    try:
        model(inputs)
    finally:
        F.scaled_dot_product_attention = attention
        for handle in handles:
            handle.remove()
    return found


def _three(count: int, m: int, n: int, k: int, input_gradient: bool) -> list[Product]:
    """Of a layer (m, k) -> (m, n): output, gradient of the weight, gradient of the input."""
    return [Product(count, m, n, k), Product(count, k, n, m), *[Product(count, m, k, n)] * input_gradient]


def _linear(layer: Any, x: Any, y: Any) -> list[Product]:
    return _three(1, x.numel() // layer.in_features, layer.out_features, layer.in_features, x.requires_grad)


def _convolution(layer: Any, x: Any, y: Any) -> list[Product]:
    taps = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
    pixels, channels = y.shape[2] * y.shape[3], layer.out_channels // layer.groups
    return _three(x.shape[0] * layer.groups, channels, pixels, taps, x.requires_grad)


def _lstm(layer: Any, x: Any, y: Any) -> list[Product]:
    """For each layer the inputs of all steps at once, and the hidden state step by step; its weight's gradient too."""
    steps, batch, _ = x.shape if not layer.batch_first else (x.shape[1], x.shape[0], x.shape[2])
    hidden, found = layer.hidden_size, []
    for number in range(layer.num_layers):
        width = layer.input_size if number == 0 else hidden
        found += _three(1, steps * batch, 4 * hidden, width, number > 0 or x.requires_grad)
        found += [Product(steps, batch, 4 * hidden, hidden), Product(steps, batch, hidden, 4 * hidden)]
        found.append(Product(1, 4 * hidden, hidden, steps * batch))
    return found


def _attention(q: Any, k: Any, causal: bool) -> list[Product]:
    *heads, length, width = q.shape
    count = 1
    for extent in heads:
        count *= extent
    others = k.shape[-2] // 2 if causal else k.shape[-2]
    scores, values = Product(count, length, others, width), Product(count, length, width, others)
    return [scores, values, scores, values, scores, values]


def repeated(products: list[Product], device: str) -> Callable[[], None]:
    """A function that computes the products by the matrix library that ddpnet uses, into memory that exists."""
    from ddpnet import backend, randn

    def memory(sizes: list[int]) -> Any:
        return randn(max(sizes)).to(device).array

    a = memory([p.count * p.m * p.k for p in products])
    b = memory([p.count * p.k * p.n for p in products])
    c = memory([p.count * p.m * p.n for p in products])
    matmul = backend.array_module(a).matmul
    operands = [
        tuple(
            flat[: p.count * rows * columns].reshape((p.count, rows, columns) if p.count > 1 else (rows, columns))
            for flat, rows, columns in ((a, p.m, p.k), (b, p.k, p.n), (c, p.m, p.n))
        )
        for p in products
    ]

    def run() -> None:
        for x, y, out in operands:
            matmul(x, y, out=out)

    return run
