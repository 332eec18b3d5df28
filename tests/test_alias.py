"""`import torch` that gives ddpnet: whole programs in processes of their own, and what they read of what is missing."""

import subprocess
import sys
from pathlib import Path

import pytest
from ranks import DDPNET, run

import ddpnet
from ddpnet import distributions, nn

pytestmark = pytest.mark.one_process
ALIAS = (sys.executable, "-m", "ddpnet.as_torch")


@pytest.fixture
def script(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "program.py"
        path.write_text(text)
        return path

    return write


TRAINING = """
import argparse
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torch.optim.lr_scheduler import StepLR
from torch.nn.parameter import Parameter
from torch.nn.modules.module import Module
from torch.autograd.function import Function
import torch.backends.cudnn as cudnn
from torchvision import datasets, transforms

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)
    def forward(self, x):
        return F.log_softmax(self.fc(x), dim=1)

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    use_cuda = torch.cuda.is_available()
    use_mps = torch.backends.mps.is_available()
    torch.manual_seed(1)
    torch.cuda.manual_seed_all(1)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    cudnn.deterministic = True
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if use_cuda else "mps" if use_mps else "cpu")
    x, y = torch.randn(20, 4), torch.randint(0, 2, (20,))
    loader = DataLoader(TensorDataset(x, y), batch_size=5, shuffle=True, num_workers=1)
    model = torch.compile(Net().to(device))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
    for epoch in range(args.epochs):
        for data, target in loader:
            optimizer.zero_grad()
            loss = F.nll_loss(model(data), target)
            loss.backward()
            optimizer.step()
        scheduler.step()
    assert isinstance(loss, Tensor) and issubclass(Net, Module)
    version = tuple(map(int, torch.__version__.split("+")[0].split(".")))
    print("epochs", args.epochs, version >= (2, 0), torch.version.cuda)

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("command", [ALIAS, (*DDPNET, "run", "--as-torch")], ids=["module", "run"])
def test_a_program_is_not_changed(script, command):
    result = run((*command, script(TRAINING), "--epochs", "2"))
    assert (result.code, result.out, result.err) == (0, "epochs 2 True None\n", "")


RANKS = """
import torch
import torch.distributed as dist
dist.init_process_group()
x = torch.tensor([float(dist.get_rank())])
dist.all_reduce(x)
print(x.item(), torch.__name__)
"""


@pytest.mark.ranks
def test_on_ranks(script):
    result = run((*DDPNET, "run", "-n", "2", "--as-torch", script(RANKS)))
    assert (result.code, sorted(result.out.split())) == (0, ["1.0", "1.0", "ddpnet", "ddpnet"])


MODULES = """
import sys
import torch, ddpnet
import torch.nn.functional as F
import torch.utils.data.distributed
import torch.optim.lr_scheduler
import torchvision
from torch.nn.modules.conv import Conv2d
from torch.nn.modules import Linear
import torch.nn.modules.module
from torch.distributions.categorical import Categorical
from torch.distributions.normal import Normal
import ddpnet.nn.functional, ddpnet.datasets
assert torch is ddpnet and sys.modules["torch"] is sys.modules["ddpnet"]
assert F is ddpnet.nn.functional is torch.nn.functional
assert Linear is torch.nn.Linear and Conv2d is torch.nn.Conv2d
assert torch.nn.modules.module.Module is torch.nn.Module
assert (Categorical, Normal) == (torch.distributions.Categorical, torch.distributions.Normal)
assert torchvision.datasets is ddpnet.datasets
assert torch.__spec__.name == "ddpnet" and F.__spec__.name == "ddpnet.nn.functional"
places = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
assert not [place for place in places if "site-packages/torch/" in place]
assert __name__ == "__main__" and sys.argv[1:] == ["a", "--b"]
print("the same")
"""


def test_the_modules_are_ours_and_loaded_once(script):
    result = run((*ALIAS, script(MODULES), "a", "--b"))
    assert (result.code, result.out, result.err) == (0, "the same\n", "")


MISSING = {
    "import torch\ntorch.reluu": "AttributeError: torch.reluu is not in ddpnet; the nearest names are torch.relu",
    "from torch import no_gradd": "ImportError: torch.no_gradd is not in ddpnet; the nearest names are torch.no_grad",
    "import torch.nn as nn\nnn.Linaer": "torch.nn.Linaer is not in ddpnet; the nearest names are torch.nn.Linear",
    "import torch.nn.functional as F\nF.rellu": "torch.nn.functional.rellu is not in ddpnet",
    "from torch.nn import functionale": "ImportError: torch.nn.functionale is not in ddpnet",
    "import torch.jit": "ModuleNotFoundError: torch.jit is not in ddpnet",
    "import torch\ntorch.jit.script": "AttributeError: torch.jit is not in ddpnet",
    "import torch\ntorch.hub.load('x', 'y')": "AttributeError: torch.hub is not in ddpnet",
    "import torch._C": "ModuleNotFoundError: torch._C is not in ddpnet",
    "import torch.multiprocessing as mp": "ModuleNotFoundError: torch.multiprocessing is not in ddpnet",
    "from torch.utils.tensorboard import SummaryWriter": "Error: torch.utils.tensorboard is not in ddpnet",
    "from torch.profiler import schedule": "ImportError: torch.profiler.schedule is not in ddpnet",
    "from torch.nn.modules.conv import Conf2d": "ImportError: torch.nn.modules.conv.Conf2d is not in ddpnet",
    "from torchvision import models": "ImportError: torchvision.models is not in ddpnet",
    "import torchvision.models": "ModuleNotFoundError: torchvision.models is not in ddpnet",
    "from torchvision.datasets import ImageFolder": "ImportError: torchvision.datasets.ImageFolder is not in ddpnet",
    "from torchvision import transforms\ntransforms.ToTenser": "torchvision.transforms.ToTenser is not in ddpnet; the "
    "nearest names are torchvision.transforms.ToTensor",
    "import torch\ntorch.zeros(2).sparse_resize_": "AttributeError: torch.Tensor.sparse_resize_ is not in ddpnet",
}


@pytest.mark.parametrize("text", MISSING)
def test_what_is_missing_is_named(script, text):
    result = run((*ALIAS, script(text)))
    assert result.code == 1
    lines = result.err.splitlines()
    assert MISSING[text] in lines[-1]
    assert not [line for line in lines if "ddpnet/alias" in line and "runpy" in line]


def test_programs_can_ask_whether_a_module_is_there(script):
    text = "try:\n    import torch._dynamo\nexcept ImportError:\n    print('no')\n"
    text += "import torch\nprint(hasattr(torch, 'jit'))\n"
    assert run((*ALIAS, script(text))).out == "no\nFalse\n"


def test_tracebacks_show_the_program_only(script):
    result = run((*ALIAS, script("import torch\n\ndef f():\n    raise ValueError('mine')\n\nf()\n")))
    assert result.code == 1
    assert result.err.count("File ") == 2
    assert result.err.splitlines()[-1] == "ValueError: mine"


def test_usage():
    result = run(ALIAS)
    assert (result.code, result.err) == (2, "usage: python -m ddpnet.as_torch SCRIPT [ARGUMENT ...]\n")


def test_pytorch_cannot_be_replaced_once_it_is_there(script):
    pytest.importorskip("torch")
    text = "import torch\nfrom ddpnet.alias import finder\nfinder.install()"
    result = subprocess.run([sys.executable, script(text)], capture_output=True, text=True, timeout=60, check=False)
    assert "RuntimeError: PyTorch is already imported" in result.stderr


# Without the alias the same is said


def test_missing_names_without_the_alias():
    with pytest.raises(
        AttributeError, match=r"torch\.manual_sed is not in ddpnet; the nearest names are torch.manual_seed"
    ):
        ddpnet.manual_sed  # noqa: B018
    with pytest.raises(ImportError, match=r"torch\.nn\.Linnear is not in ddpnet"):
        from ddpnet.nn import Linnear  # noqa: F401
    with pytest.raises(AttributeError, match=r"torch\.distributions\.Norml is not in ddpnet"):
        distributions.Norml  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute '__nothing__'"):
        nn.__nothing__  # noqa: B018


def test_missing_methods_of_tensors():
    x = ddpnet.zeros(2)
    absent = "sparse_resize_"
    assert not hasattr(x, absent)
    assert not hasattr(ddpnet.Tensor, absent)
    assert getattr(x, absent, 5) == 5
    with pytest.raises(AttributeError, match=f"torch.Tensor.{absent} is not in ddpnet"):
        getattr(x, absent)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        x.nonsense  # noqa: B018


# What programs set and ask


def test_switches_can_be_set():
    before = ddpnet.are_deterministic_algorithms_enabled()
    ddpnet.use_deterministic_algorithms(True, warn_only=True)
    assert ddpnet.are_deterministic_algorithms_enabled()
    assert ddpnet.is_deterministic_algorithms_warn_only_enabled()
    ddpnet.use_deterministic_algorithms(before)
    with pytest.raises(ValueError, match="must be one of"):
        ddpnet.set_float32_matmul_precision("low")
    ddpnet.set_float32_matmul_precision("high")
    assert ddpnet.get_float32_matmul_precision() == "high"
    ddpnet.set_float32_matmul_precision("highest")
    threads = ddpnet.get_num_threads()
    ddpnet.set_num_threads(1)
    assert ddpnet.get_num_threads() == 1
    ddpnet.set_num_threads(threads)
    for count in (0, -1):
        with pytest.raises(RuntimeError, match="positive integer"):
            ddpnet.set_num_threads(count)
    assert not ddpnet.mps.is_available()
    assert not ddpnet.xpu.is_available()
    assert not ddpnet.backends.mps.is_available()
    assert not ddpnet.backends.mkldnn.is_available()


def test_compile_takes_pytorchs_options():
    model = nn.Linear(2, 2)
    assert ddpnet.compile(model) is model
    assert ddpnet.compile(model, mode="max-autotune", fullgraph=True) is model

    @ddpnet.compile
    def one():
        return 1

    @ddpnet.compile(dynamic=True)
    def two():
        return 2

    assert (one(), two(), ddpnet.compiler.is_compiling()) == (1, 2, False)


@pytest.mark.gpu
@pytest.mark.skipif(not ddpnet.cuda.is_available(), reason="needs CuPy and a CUDA device")
def test_cuda():
    assert ddpnet.cuda.get_device_name()
    assert ddpnet.cuda.memory_allocated() >= 0
    with ddpnet.cuda.device(0):
        assert ddpnet.cuda.current_device() == 0


@pytest.mark.skipif(ddpnet.cuda.is_available(), reason="asks what happens without a GPU")
def test_without_cuda():
    ddpnet.cuda.empty_cache()
    ddpnet.cuda.manual_seed_all(3)
    ddpnet.cuda.synchronize()
    assert (ddpnet.cuda.device_count(), ddpnet.cuda.memory_allocated(), ddpnet.cuda.is_bf16_supported()) == (
        0,
        0,
        False,
    )
    with pytest.raises(RuntimeError, match="CuPy"):
        ddpnet.cuda.get_device_name()
