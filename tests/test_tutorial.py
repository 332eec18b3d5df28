"""PyTorch's tutorial "Neural Networks", cell by cell: with `import ddpnet as torch` it prints what PyTorch prints."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable
from typing import Any

import pytest

import ddpnet

CELLS = (
    """
import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):

    def __init__(self):
        super(Net, self).__init__()
        # 1 input image channel, 6 output channels
        # 5x5 square convolution kernel
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        # an affine operation: y = Wx + b
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        # 5*5 from image dimension
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        # Max pooling over a (2, 2) window
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        # If the size is a square, you can specify with a single number
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        x = self.fc3(x)
        return x

net = Net()
print(net)
""",
    """
params = list(net.parameters())
print(len(params))
print(params[0].size())
""",
    """
input = torch.randn(1,1,32,32)
out = net(input)
print(out)
""",
    """
net.zero_grad()
out.backward(torch.randn(1,10))
""",
    """
output = net(input)
target = torch.randn(10) # a dummy target, for example
target = target.view(1, -1) # make it the same shape as output
criterion = nn.MSELoss()

loss = criterion(output, target)
print(loss)
""",
    """
print(loss.grad_fn) # MSELoss
print(loss.grad_fn.next_functions[0][0]) # Linear
print(loss.grad_fn.next_functions[0][0].next_functions[0][0]) # ReLu
""",
    """
net.zero_grad()
# zeroes the gradient buffers of all parameters
print('conv1.bias.grad before backward')
print(net.conv1.bias.grad)

loss.backward()

print('conv1.bias.grad before backward')
print(net.conv1.bias.grad)
""",
    """
learning_rate = 0.01
for f in net.parameters():
    f.data.sub_(f.grad.data * learning_rate)
""",
    """
import torch.optim as optim

# creat you optimizer
optimizer = optim.SGD(net.parameters(), lr = 0.01)

# in your training loop:
optimizer.zero_grad()  # zero the gradient buffers
output = net(input)
loss = criterion(output, target)
loss.backward()
optimizer.step() # Does the update
""",
)

PRINTED = (
    """Net(
  (conv1): Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1))
  (conv2): Conv2d(6, 16, kernel_size=(5, 5), stride=(1, 1))
  (fc1): Linear(in_features=400, out_features=120, bias=True)
  (fc2): Linear(in_features=120, out_features=84, bias=True)
  (fc3): Linear(in_features=84, out_features=10, bias=True)
)
""",
    "10\ntorch.Size([6, 1, 5, 5])\n",
    """tensor([[ #, #, #, #, #, #, #, #,
          #, #]], grad_fn=<AddmmBackward0>)
""",
    "",
    "tensor(#, grad_fn=<MseLossBackward0>)\n",
    "<MseLossBackward0 object at #>\n<AddmmBackward0 object at #>\n<AccumulateGrad object at #>\n",
    "conv1.bias.grad before backward\nNone\nconv1.bias.grad before backward\ntensor([#, #, #, #, #, #])\n",
    "",
    "",
)
"""What PyTorch 2.13 prints, with random numbers and addresses as #."""


def for_ddpnet(cell: str) -> str:
    """The cell with `import ddpnet as torch`, and nothing else changed."""
    return cell.replace("import torch\n", "import ddpnet as torch\n").replace("import torch.", "import ddpnet.")


def printed(cells: Iterable[str]) -> list[str]:
    """What each cell of one program prints."""
    scope: dict[str, object] = {"__name__": "tutorial"}
    texts = []
    for cell in cells:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(cell, scope)
        texts.append(output.getvalue())
    return texts


def masked(text: str) -> str:
    """Random numbers and addresses as #; without what depends on their signs and sizes: spaces and line breaks."""
    text = re.sub(r"0x[0-9a-f]+|-?\d+\.\d{4}(e[+-]\d\d)?", "#", text)
    return re.sub(r"([\[,])\s+#", r"\1#", text)


def test_cells_print_the_known_text() -> None:
    ddpnet.manual_seed(0)
    texts = printed(for_ddpnet(cell) for cell in CELLS)
    for number, (text, expected) in enumerate(zip(texts, PRINTED, strict=True), start=1):
        assert masked(text) == masked(expected), f"In [{number}]"


def test_known_text_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    for number, (text, expected) in enumerate(zip(printed(CELLS), PRINTED, strict=True), start=1):
        assert masked(text) == masked(expected), f"In [{number}]"


def test_same_numbers_print_the_same_letters() -> None:
    """With PyTorch's weights, input and target in both, even the digits and the line breaks are equal."""
    torch = pytest.importorskip("torch")
    theirs: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(CELLS[0], theirs)
        exec(for_ddpnet(CELLS[0]), ours)
    values = {name: value.numpy() for name, value in theirs["net"].state_dict().items()}
    input, target = torch.randn(1, 1, 32, 32).numpy(), torch.randn(1, 10).numpy()
    texts = []
    for library, net in ((ddpnet, ours["net"].double()), (torch, theirs["net"].double())):
        net.load_state_dict({name: library.tensor(value) for name, value in values.items()})
        out = net(library.tensor(input).double())
        loss = library.nn.MSELoss()(out, library.tensor(target).double())
        loss.backward()
        texts.append([repr(out), repr(loss), repr(net.conv1.bias.grad), repr(net.conv1.bias)])
    assert texts[0] == texts[1]


MORE_STEPS = """
before = loss.item()
for _ in range(30):
    optimizer.zero_grad()
    loss = criterion(net(input), target)
    loss.backward()
    optimizer.step()
print(loss.item() < before)
"""


def test_training_lowers_the_loss() -> None:
    ddpnet.manual_seed(0)
    assert printed(for_ddpnet(cell) for cell in (*CELLS, MORE_STEPS))[-1] == "True\n"
