"""Collectives through which gradients flow: what goes forward one way goes backward the other way.

The gradients are those of the sum of all ranks' losses. `backward` is a collective, too: every rank has to call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ddpnet.autograd.function import Function
from ddpnet.distributed.collectives import combining as collectives
from ddpnet.distributed.collectives import scattering
from ddpnet.distributed.collectives.groups import Group, find, group_rank
from ddpnet.distributed.collectives.reduction import ReduceOp
from ddpnet.tensor import Tensor


def broadcast(tensor: Tensor, src: int, group: Group = None) -> Any:
    """A tensor with the values of rank `src`; its gradients are summed there."""
    return _Broadcast.apply(src, group, tensor)


def gather(tensor: Tensor, dst: int = 0, group: Group = None) -> Any:
    """A tuple of the tensors of all ranks on rank `dst`, of zeros elsewhere."""
    return _Gather.apply(dst, group, tensor)


def scatter(tensors: Sequence[Tensor], src: int = 0, group: Group = None) -> Any:
    """This rank's one of the tensors of rank `src`. The other ranks pass tensors, too, of the same shapes."""
    return _Scatter.apply(src, group, *tensors)


def reduce(tensor: Tensor, dst: int, op: ReduceOp = ReduceOp.SUM, group: Group = None) -> Any:
    """The tensors of all ranks combined on rank `dst`, zeros elsewhere."""
    return _Reduce.apply(dst, _linear(op, "reduce", [tensor]), group, tensor)


def reduce_scatter(
    output: Tensor, input_list: Sequence[Tensor], op: ReduceOp = ReduceOp.SUM, group: Group = None
) -> Any:
    """The lists of all ranks combined, of which this rank gets its part; `output` has its shape, and is left alone."""
    return _ReduceScatter.apply(_linear(op, "reduce_scatter", input_list), group, output, *input_list)


def all_gather(tensor: Tensor, group: Group = None) -> Any:
    """A tuple of the tensors of all ranks."""
    return _AllGather.apply(group, tensor)


def all_to_all(output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor], group: Group = None) -> Any:
    """A tuple of what comes from each rank; the output list has the shapes, and is left alone."""
    return _AllToAll.apply(group, tuple(output_tensor_list), *input_tensor_list)


def all_to_all_single(
    output: Tensor,
    input: Tensor,
    output_split_sizes: Sequence[int] | None = None,
    input_split_sizes: Sequence[int] | None = None,
    group: Group = None,
) -> Any:
    """The parts of `input` that the ranks have for this one, joined; `output` has the shape, and is left alone."""
    return _AllToAllSingle.apply(group, output, output_split_sizes, input_split_sizes, input)


def all_reduce(tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Group = None) -> Any:
    """The tensors of all ranks combined, on every rank."""
    return _AllReduce.apply(_linear(op, "all_reduce", [tensor]), group, tensor)


def _linear(op: ReduceOp, operation: str, tensors: Sequence[Tensor]) -> ReduceOp:
    """RuntimeError where gradients are asked for of something else than a sum or a mean."""
    if op not in (ReduceOp.SUM, ReduceOp.AVG) and any(tensor.requires_grad for tensor in tensors):
        raise RuntimeError(f"{operation}: gradients flow through ReduceOp.SUM and AVG only, got {op}; detach() first")
    return op


def _empty(shape: Sequence[int], like: Tensor) -> Tensor:
    return like.new_empty(tuple(shape))


class _Broadcast(Function):
    @staticmethod
    def forward(ctx: Any, src: int, group: Group, tensor: Tensor) -> Tensor:
        ctx.src, ctx.group = src, group
        copy: Tensor = tensor.clone()
        collectives.broadcast(copy, src, group)
        return copy

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        return None, None, _Reduce.apply(ctx.src, ReduceOp.SUM, ctx.group, g)


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, dst: int, group: Group, tensor: Tensor) -> tuple[Tensor, ...]:
        ctx.dst, ctx.group = dst, group
        mine = find(group, "gather")
        gathered = [tensor.new_zeros(tensor.shape) for _ in range(mine.size())]
        here = group_rank(mine, "gather", dst, None) == mine.rank()
        collectives.gather(tensor, gathered if here else None, dst, group)
        return tuple(gathered)

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> tuple[Any, ...]:
        return None, None, _Scatter.apply(ctx.dst, ctx.group, *gs)


class _Scatter(Function):
    @staticmethod
    def forward(ctx: Any, src: int, group: Group, *tensors: Tensor) -> Tensor:
        ctx.src, ctx.group = src, group
        mine = find(group, "scatter")
        output = _empty(tensors[0].shape, tensors[0])
        here = group_rank(mine, "scatter", src, None) == mine.rank()
        scattering.scatter(output, list(tensors) if here else None, src, group)
        return output

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        return None, None, *_Gather.apply(ctx.src, ctx.group, g)


class _Reduce(Function):
    @staticmethod
    def forward(ctx: Any, dst: int, op: ReduceOp, group: Group, tensor: Tensor) -> Tensor:
        ctx.dst, ctx.op, ctx.group = dst, op, group
        copy: Tensor = tensor.clone()
        collectives.reduce(copy, dst, op, group)
        mine = find(group, "reduce")
        here = group_rank(mine, "reduce", dst, None) == mine.rank()
        return copy if here else tensor.new_zeros(tensor.shape)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        total = _Broadcast.apply(ctx.dst, ctx.group, g)
        size = find(ctx.group, "reduce").size()
        return None, None, None, total / size if ctx.op is ReduceOp.AVG else total


class _ReduceScatter(Function):
    @staticmethod
    def forward(ctx: Any, op: ReduceOp, group: Group, output: Tensor, *inputs: Tensor) -> Tensor:
        ctx.op, ctx.group, ctx.shapes = op, group, [tuple(tensor.shape) for tensor in inputs]
        result = _empty(output.shape, output)
        scattering.reduce_scatter(result, list(inputs), op, group)
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        size = find(ctx.group, "reduce_scatter").size()
        outputs = tuple(_empty(shape, g) for shape in ctx.shapes)
        gs = _AllToAll.apply(ctx.group, outputs, *([g] * size))  # shapes may differ: all_gather would not do
        return None, None, None, *(part / size if ctx.op is ReduceOp.AVG else part for part in gs)


class _AllGather(Function):
    @staticmethod
    def forward(ctx: Any, group: Group, tensor: Tensor) -> tuple[Tensor, ...]:
        ctx.group = group
        gathered = [_empty(tensor.shape, tensor) for _ in range(find(group, "all_gather").size())]
        collectives.all_gather(gathered, tensor, group)
        return tuple(gathered)

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> tuple[Any, ...]:
        output = _empty(gs[0].shape, gs[0])
        return None, _ReduceScatter.apply(ReduceOp.SUM, ctx.group, output, *gs)


class _AllToAll(Function):
    @staticmethod
    def forward(ctx: Any, group: Group, outputs: tuple[Tensor, ...], *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.group, ctx.shapes = group, [tuple(tensor.shape) for tensor in inputs]
        results = [_empty(tensor.shape, tensor) for tensor in outputs]
        scattering.all_to_all(results, list(inputs), group)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> tuple[Any, ...]:
        outputs = tuple(_empty(shape, gs[0]) for shape in ctx.shapes)
        return None, None, *_AllToAll.apply(ctx.group, outputs, *gs)


class _AllToAllSingle(Function):
    @staticmethod
    def forward(ctx: Any, group: Group, output: Tensor, out_sizes: Any, in_sizes: Any, input: Tensor) -> Tensor:
        ctx.group, ctx.sizes, ctx.shape = group, (in_sizes, out_sizes), tuple(input.shape)
        result = _empty(output.shape, output)
        scattering.all_to_all_single(result, input, out_sizes, in_sizes, group)
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        output = _empty(ctx.shape, g)
        return None, None, None, None, _AllToAllSingle.apply(ctx.group, output, *ctx.sizes, g)


class _AllReduce(Function):
    @staticmethod
    def forward(ctx: Any, op: ReduceOp, group: Group, tensor: Tensor) -> Tensor:
        ctx.op, ctx.group = op, group
        copy: Tensor = tensor.clone()
        collectives.all_reduce(copy, op, group)
        return copy

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        return None, None, _AllReduce.apply(ctx.op, ctx.group, g)
