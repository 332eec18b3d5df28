"""The same models for ddpnet and PyTorch: written once, as users write them, built with the module that is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Case(NamedTuple):
    """A training problem: a model, a batch for it, and the loss of that batch."""

    model: Callable[[Any], Any]
    """From the library to a module."""
    batch: Callable[[Any, int], tuple[Any, Any]]
    """From the library and a number of samples to inputs and labels."""
    classes: int
    """Of the labels; the loss is their cross-entropy."""
    adam: bool = False
    """Whether Adam makes the step, else SGD with momentum."""


def lenet(torch: Any) -> Any:
    """The tutorial's network for (N, 1, 32, 32) images."""
    nn, F = torch.nn, torch.nn.functional

    class Net(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(1, 6, 5)
            self.conv2 = nn.Conv2d(6, 16, 5)
            self.fc1 = nn.Linear(16 * 5 * 5, 120)
            self.fc2 = nn.Linear(120, 84)
            self.fc3 = nn.Linear(84, 10)

        def forward(self, x: Any) -> Any:
            x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            x = torch.flatten(x, 1)
            x = F.relu(self.fc1(x))
            x = F.relu(self.fc2(x))
            return self.fc3(x)

    return Net()


def mlp(torch: Any) -> Any:
    """784-1024-1024-10."""
    nn = torch.nn
    return nn.Sequential(nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))


def tiny(torch: Any) -> Any:
    """Three layers of eight units: nothing but overhead."""
    nn = torch.nn
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))


def resnet18(torch: Any) -> Any:
    """He et al. 2016, with a 3x3 stem without pooling, as usual for (N, 3, 32, 32) images."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, before: int, channels: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)
            self.shortcut = nn.Sequential()
            if stride != 1 or before != channels:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
                )

        def forward(self, x: Any) -> Any:
            y = F.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            return F.relu(y + self.shortcut(x))

    class ResNet(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
            self.bn = nn.BatchNorm2d(64)
            widths = [64, 64, 128, 256, 512]
            self.blocks = nn.Sequential(
                *[
                    Block(widths[stage] if first else widths[stage + 1], widths[stage + 1], 2 if first and stage else 1)
                    for stage in range(4)
                    for first in (True, False)
                ]
            )
            self.fc = nn.Linear(512, 10)

        def forward(self, x: Any) -> Any:
            x = self.blocks(F.relu(self.bn(self.conv(x))))
            return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    return ResNet()


def gpt(torch: Any) -> Any:
    """Four layers of width 128 with 4 heads, context 128, 96 characters."""
    nn, F = torch.nn, torch.nn.functional
    width, heads, context, vocabulary = 128, 4, 128, 96

    class Block(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            n, t, _ = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.projection(y.transpose(1, 2).reshape(n, t, width))
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class GPT(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(4)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

        def forward(self, x: Any) -> Any:
            x = self.tokens(x) + self.positions(torch.arange(x.shape[1], device=x.device))
            return self.head(self.norm(self.blocks(x)))

    return GPT()


def lstm(torch: Any) -> Any:
    """A language model of 10,000 words: embedding, two layers of width 256, a head."""
    nn = torch.nn
    vocabulary, width = 10_000, 256

    class LanguageModel(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(vocabulary, width)
            self.lstm = nn.LSTM(width, width, 2)
            self.head = nn.Linear(width, vocabulary)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(self.tokens(x))[0])

    return LanguageModel()


def _images(*shape: int) -> Callable[[Any, int], tuple[Any, Any]]:
    return lambda torch, n: (torch.randn(n, *shape), torch.randint(0, 8, (n,)))


def _words(vocabulary: int, length: int, first: bool) -> Callable[[Any, int], tuple[Any, Any]]:
    """Sequences and the next word at each place, with the batch in front or behind."""

    def batch(torch: Any, n: int) -> tuple[Any, Any]:
        shape = (n, length) if first else (length, n)
        return torch.randint(0, vocabulary, shape), torch.randint(0, vocabulary, shape)

    return batch


CASES = {
    "lenet": Case(lenet, _images(1, 32, 32), 10),
    "lenet-adam": Case(lenet, _images(1, 32, 32), 10, adam=True),
    "mlp": Case(mlp, _images(784), 10),
    "resnet18": Case(resnet18, _images(3, 32, 32), 10),
    "gpt": Case(gpt, _words(96, 128, first=True), 96, adam=True),
    "lstm": Case(lstm, _words(10_000, 35, first=False), 10_000),
    "tiny": Case(tiny, _images(8), 8),
}


def step_function(
    torch: Any,
    case: str,
    batch: int,
    *,
    wrap: Any = None,
    device: str = "cpu",
    channels_last: bool = False,
    eager: bool = True,
) -> Any:
    """A function that does one training step: gradients cleared, forward, backward, optimizer."""
    torch.manual_seed(0)
    build, make_batch, classes, adam = CASES[case]
    model = build(torch).to(device)
    inputs, labels = (tensor.to(device) for tensor in make_batch(torch, batch))
    if channels_last:
        model, inputs = (x.to(memory_format=torch.channels_last) for x in (model, inputs))
    if wrap is not None:
        model = wrap(model)
    parameters = model.parameters()
    optimizer = torch.optim.Adam(parameters, lr=1e-3) if adam else torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    criterion = torch.nn.CrossEntropyLoss()

    def loss(inputs: Any, labels: Any) -> Any:
        return criterion(model(inputs).view(-1, classes), labels.view(-1))

    if not eager and wrap is None:
        loss = torch.compile(loss)
    elif not eager:
        model = torch.compile(model)  # what is wrapped

    def step() -> None:
        optimizer.zero_grad()
        loss(inputs, labels).backward()
        optimizer.step()

    return step
