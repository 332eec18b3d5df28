"""What `import torchvision` gives under the alias."""

import sys

from ddpnet import datasets, transforms
from ddpnet.alias import missing

__all__ = ["datasets", "transforms"]
__version__ = "0.28.0+ddpnet"

missing.explain(sys.modules[__name__], "torchvision")
missing.explain(datasets, "torchvision.datasets")
missing.explain(transforms, "torchvision.transforms")
missing.explain(transforms.functional, "torchvision.transforms.functional")
