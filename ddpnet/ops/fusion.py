"""What is computed together: pairs of operations whose gradients need one pass over memory instead of two.

A model stays as it was written, and each operation stays one class and one node of the graph. `JOINTS` says for which
pairs, a node and the older one that made its first input, the walk back asks a class of this file for both gradients at
once. It does so only where nobody can see the gradient in between, and what comes out has the same bits. Forward,
`pending.py` has the operation that waits for the next one: `MaxPool2d` computes a ReLU with its own pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ddpnet.autograd.graph import is_only_edge
from ddpnet.backend import Array
from ddpnet.kernels import kernels_for
from ddpnet.kernels.geometry import halves
from ddpnet.ops.activation import Relu
from ddpnet.ops.op import Op
from ddpnet.ops.pooling import MaxPool2d
from ddpnet.tensor import Tensor


class MaxPoolOfRelu:
    """Only maxima get a gradient: it is multiplied by ReLU's slope there, before it is scattered over the input.

    At LeNet's first layer and batch 64 the pass over all elements afterwards takes 43 of 96 µs.
    """

    def __init__(self, pool: Op, outputs: tuple[Tensor, ...]) -> None:
        self.maxima, self.version = outputs[0].array, outputs[0].version
        self.value = self.version.value

    def older(self, pool: Op) -> Any:
        """The node that made what the maxima were taken of."""
        return pool.edges[0][0]

    def fits(self, pool: Op) -> bool:
        """Whether the maxima are unchanged, and nobody else uses or sees what lies between."""
        return self.version.value == self.value and _unseen(pool.edges[0])

    def propagate(self, pool: Op, gradients: list[Array | None]) -> Sequence[Array | None]:
        """From the gradient of the maxima to that of ReLU's input."""
        self.older(pool).check_saved()
        return self.gradients(pool, self.maxima, gradients)

    @staticmethod
    def gradients(pool: Op, maxima: Array, gradients: list[Array | None]) -> Sequence[Array | None]:
        """As `propagate`, from the maxima."""
        return pool.propagate([kernels_for(gradients[0]).relu_backward(gradients[0], maxima), None])

    options: ClassVar[dict[str, Any]] = {"of_relu": True}
    """With which the pooling computes the ReLU, too."""

    @staticmethod
    def is_one_pass(options: dict[str, Any]) -> bool:
        """Whether it can, with its other options."""
        names = "kernel", "stride", "padding", "dilation", "ceil_mode"
        return options["dims"] == 2 and halves(*(options[name] for name in names))


JOINTS: dict[tuple[type[Op], type[Op]], Any] = {(MaxPool2d, Relu): MaxPoolOfRelu}
"""By the younger and the older operation of a pair."""

for (younger, older), joint in JOINTS.items():
    younger.joints = {**younger.joints, older: joint}


def _unseen(edge: tuple[Any, int]) -> bool:
    """Whether the node behind an edge has no hooks, and gradients have no other way to it or to where it leads: then
    a sum of gradients has the same terms in the same order without it."""
    older = edge[0]
    if older.hooks or older.retained or older.node_hooks or older.trace is not None:
        return False
    del older
    return is_only_edge(edge) and is_only_edge(edge[0].edges[0])
