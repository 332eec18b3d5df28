"""The same models for ddpnet and PyTorch: written once, built with the module that is given."""

from __future__ import annotations

from typing import Any


def lenet(torch: Any) -> Any:
    """The tutorial's network for (N, 1, 32, 32) images, as users write it."""
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


def step_function(torch: Any, batch: int, *, wrap: Any = None, device: str = "cpu") -> Any:
    """A function that does one training step: forward, backward, SGD with momentum, gradients cleared."""
    torch.manual_seed(0)
    model = lenet(torch).to(device)
    if wrap is not None:
        model = wrap(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    criterion = torch.nn.CrossEntropyLoss()
    images = torch.randn(batch, 1, 32, 32).to(device)
    labels = torch.randint(0, 10, (batch,)).to(device)

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(images), labels).backward()
        optimizer.step()

    return step
