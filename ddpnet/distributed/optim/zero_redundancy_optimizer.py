"""ZeroRedundancyOptimizer: every rank keeps the optimizer's state of its part of the elements alone (ZeRO, stage 1:
Rajbhandari et al., 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from ddpnet import optim
from ddpnet.autograd.grad_mode import enable_grad, no_grad
from ddpnet.backend import Array, Device
from ddpnet.distributed.algorithms.join import Join, Joinable, JoinHook
from ddpnet.distributed.collectives.membership import communicator_of
from ddpnet.distributed.optim.gathering import Owned, gathered, piece_of_state
from ddpnet.distributed.optim.partition import Partition, Piece, exchange_parts
from ddpnet.optim.optimizer import Optimizer, Parameters
from ddpnet.optim.state import check_groups
from ddpnet.tensor import Tensor

ELEMENTWISE = (
    optim.SGD, optim.Adam, optim.AdamW, optim.NAdam, optim.RAdam, optim.Adamax, optim.Adagrad, optim.Adadelta,
    optim.RMSprop, optim.ASGD, optim.Rprop,
)  # fmt: skip
"""Optimizers whose step at one element looks at no other element."""


class ZeroRedundancyOptimizer(Optimizer, Joinable):
    """Runs `optimizer_class` with its state cut over the ranks; the weights have the bits that they have without it.

    PyTorch deals whole parameters to the ranks, so that a large one decides who needs how much. Here all elements of
    one dtype, laid end to end, are cut into equal parts: a rank updates its part of each parameter and sends it to the
    others. So only optimizers that work element by element can be cut: those of `ELEMENTWISE`, and classes that say
    `elementwise = True`. With `parameters_as_bucket_view` the parameters lie in one array, and are sent from there
    without a copy. `step`, `add_param_group`, `consolidate_state_dict` and `consolidated` are called by all ranks.
    """

    optim: Optimizer
    """This rank's optimizer, over tensors of one dimension: its pieces of the parameters."""

    def __init__(
        self,
        params: Parameters,
        optimizer_class: type[Optimizer],
        process_group: Any = None,
        parameters_as_bucket_view: bool = False,
        overlap_with_ddp: bool = False,
        **defaults: Any,
    ) -> None:
        if overlap_with_ddp:
            raise NotImplementedError(
                "ZeroRedundancyOptimizer: overlap_with_ddp=True is not supported: it leaves out the first updates, and "
                "with them the bits of the optimizer that it wraps"
            )
        _check_class(optimizer_class)
        self.process_group = process_group
        self._comm = communicator_of(process_group, "ZeroRedundancyOptimizer")
        self.rank, self.world_size = self._comm.rank, self._comm.size
        self._partition = Partition(self.world_size, parameters_as_bucket_view)
        self._mine: dict[int, tuple[Piece, Tensor]] = {}
        self._whole: dict[int, dict[str, Any]] | None = None
        self._is_cut = False
        Optimizer.__init__(self, params, {})
        Joinable.__init__(self)
        self._cut(self._all())
        self.optim = optimizer_class([self._local_group(group) for group in self.param_groups], **defaults)
        self._is_cut = True
        self.defaults = self.optim.defaults
        self._take_options(self.param_groups)

    # Parameters and their options

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; see `Optimizer.add_param_group`."""
        super().add_param_group(param_group)
        if self._is_cut:
            self._cut(self.param_groups[-1]["params"])
            self.optim.add_param_group(self._local_group(self.param_groups[-1]))
            self._take_options(self.param_groups)

    def _cut(self, parameters: list[Tensor]) -> None:
        """Divide parameters among the ranks, and note this rank's pieces."""
        known = len(self._partition.segments)
        self._partition.add(parameters)
        for segment in self._partition.segments[known:]:
            for piece in segment.pieces[self.rank]:
                local = Tensor(piece.of(_flat(piece.parameter)))
                local.requires_grad = piece.parameter.requires_grad
                self._mine[id(piece.parameter)] = piece, local

    def _local_group(self, group: dict[str, Any]) -> dict[str, Any]:
        """A group with this rank's pieces in place of the parameters."""
        here = [place for place, p in enumerate(group["params"]) if id(p) in self._mine]
        local = {**group, "params": [self._mine[id(group["params"][place])][1] for place in here]}
        if "param_names" in group:
            local["param_names"] = [group["param_names"][place] for place in here]
        return local

    def _take_options(self, groups: list[dict[str, Any]]) -> None:
        """Give the groups, in place, the options of this rank's optimizer, in its order."""
        for group, local in zip(groups, self.optim.param_groups, strict=True):
            own: dict[str, Any] = {key: group[key] for key in ("params", "param_names") if key in group}
            group.clear()
            group.update({**local, **own})

    def _give_options(self) -> None:
        """What schedulers and users have set in `param_groups` goes to this rank's optimizer."""
        for group, local in zip(self.param_groups, self.optim.param_groups, strict=True):
            local.update({key: value for key, value in group.items() if key not in ("params", "param_names")})

    # One step

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None, **options: Any) -> Any:
        """Update this rank's part by its gradients, and exchange the parts; a `closure`'s loss is returned."""
        Join.notify_join_context(self)
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._give_options()
        flats = {id(p): _flat(p) for segment in self._partition.segments for p in segment.parameters}
        for piece, local in self._mine.values():
            local.array = piece.of(flats[id(piece.parameter)])
            gradient = piece.parameter.grad
            local.grad = None if gradient is None else Tensor(piece.of(gradient.array.reshape(-1)))
        self.optim.step(**options)
        for _, local in self._mine.values():
            local.grad = None
        for segment in self._partition.segments if self.world_size > 1 else ():
            if segment.takes_part():
                exchange_parts(segment, flats, self._comm)
        for p in self._all():
            if p.grad is not None:
                if not p.is_contiguous():
                    p.array[...] = flats[id(p)].reshape(p.array.shape)
                p.changed()
        self._take_options(self.param_groups)
        return loss

    # Ranks that have run out of data

    def join_hook(self, **kwargs: Any) -> JoinHook:
        """Steps with those of the others, by gradients that the model's own hook has set before."""
        return _StepHook(self)

    @property
    def join_device(self) -> Device:
        """That of the first parameter."""
        return self._all()[0].device

    @property
    def join_process_group(self) -> Any:
        """The group that was given."""
        return self.process_group

    # State

    def local_state_bytes(self) -> int:
        """Bytes of the optimizer's state on this rank."""
        entries = chain.from_iterable(state.values() for state in self.optim.state.values())
        return sum(value.nbytes for value in entries if isinstance(value, Tensor))

    def local_state(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        """The state that this rank has of each parameter of which it keeps a part."""
        for piece, local in self._mine.values():
            if local in self.optim.state:
                yield piece.parameter, self.optim.state[local]

    def consolidate_state_dict(self, to: int = 0) -> None:
        """Gather the state on rank `to`, where `state_dict` gives it from then on. All ranks call it."""
        found = self._gather(to)
        if self.rank == to:
            self._whole = found

    def consolidated(self, to: int | None = None) -> dict[str, Any] | None:
        """The state dict of the whole optimizer, on rank `to` alone (None elsewhere) or on every rank. All ranks call
        it."""
        found = self._gather(to)
        return None if found is None else self._with_groups(found)

    def state_dict(self) -> dict[str, Any]:
        """The whole state at the last `consolidate_state_dict`: what `optimizer_class` itself would give.

        RuntimeError on a rank to which it was not gathered.
        """
        if self._whole is None:
            raise RuntimeError(
                "Optimizer state has not been consolidated on this rank. Please call "
                f"`consolidate_state_dict(to={self.rank})` on all ranks beforehand if you meant to save the global "
                "state."
            )
        for before in self._state_dict_pre_hooks.values():
            before(self)
        result = self._with_groups(self._whole)
        for after in self._state_dict_post_hooks.values():
            result = after(self, result) or result
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a whole optimizer, cut or not, on any number of ranks; ValueError if it does not fit."""
        state_dict = state_dict.copy()
        for before in self._load_state_dict_pre_hooks.values():
            state_dict = before(self, state_dict) or state_dict
        groups = state_dict["param_groups"]
        check_groups(groups, self.param_groups)
        saved = list(chain.from_iterable(group["params"] for group in groups))
        parameters = dict(zip(saved, self._all(), strict=True))
        numbers = {id(local): number for number, local in enumerate(_listed(self.optim))}
        state = {}
        for key, values in state_dict["state"].items():
            p = parameters[int(key)]
            if id(p) in self._mine:
                piece, local = self._mine[id(p)]
                state[numbers[id(local)]] = piece_of_state(values, p.array.shape, piece.start, piece.stop)
        local_groups = [
            {**_without_names(group), "params": [numbers[id(p)] for p in local["params"]]}
            for group, local in zip(groups, self.optim.param_groups, strict=True)
        ]
        self.optim.load_state_dict({"state": state, "param_groups": local_groups})
        self._take_options(self.param_groups)
        for after in self._load_state_dict_post_hooks.values():
            after(self)

    def _gather(self, to: int | None) -> dict[int, dict[str, Any]] | None:
        if to is not None and not 0 <= to < self.world_size:
            raise ValueError(f"consolidate_state_dict: expected a rank from 0 to {self.world_size - 1}, got {to}")
        shapes = [p.array.shape for p in self._all()]
        return gathered(self._comm, self._owned(), shapes, to, "gathering the state of ZeroRedundancyOptimizer")

    def _owned(self) -> Iterator[Owned]:
        """The state that this rank has."""
        for number, p in self._numbered():
            if id(p) in self._mine:
                piece, local = self._mine[id(p)]
                if local in self.optim.state:
                    yield number, piece.start, self.optim.state[local]

    def _numbered(self) -> Iterator[tuple[int, Tensor]]:
        """The parameters, each once, with the numbers that state dicts know them by."""
        numbers: dict[int, int] = {}
        for number, p in enumerate(self._all()):
            if numbers.setdefault(id(p), number) == number:
                yield number, p

    def _with_groups(self, state: dict[int, dict[str, Any]]) -> dict[str, Any]:
        numbers = {id(p): number for number, p in self._numbered()}
        groups = [
            {
                **{key: value for key, value in group.items() if key != "params"},
                "params": [numbers[id(p)] for p in group["params"]],
            }
            for group in self.param_groups
        ]
        return {"state": state, "param_groups": groups}


class _StepHook(JoinHook):
    """Takes part in the steps of the other ranks."""

    def __init__(self, optimizer: ZeroRedundancyOptimizer) -> None:
        self._optimizer = optimizer

    def main_hook(self) -> None:
        """A step of this rank's part."""
        self._optimizer.step()


def _check_class(optimizer_class: Any) -> None:
    if not (isinstance(optimizer_class, type) and issubclass(optimizer_class, Optimizer)):
        raise TypeError(f"ZeroRedundancyOptimizer: expected a class of optimizers, got {optimizer_class!r}")
    if optimizer_class not in ELEMENTWISE and not getattr(optimizer_class, "elementwise", False):
        names = ", ".join(sorted(kind.__name__ for kind in ELEMENTWISE))
        raise NotImplementedError(
            f"ZeroRedundancyOptimizer: {optimizer_class.__name__} cannot be cut over ranks: a step at one element may "
            f"depend on others. Expected one of {names}, or a class that says `elementwise = True`"
        )


def _without_names(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "param_names"}


def _listed(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _flat(p: Tensor) -> Array:
    """All elements in the order of the indices: the memory itself, or a copy if it lies otherwise."""
    return p.array.reshape(-1)
