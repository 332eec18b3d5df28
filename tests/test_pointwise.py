"""Element-wise operations beyond values and gradients: errors, wrap-around, limits of dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ddpnet

f = ddpnet.tensor([1.5, -2.0])
i = ddpnet.tensor([3, -4])
b = ddpnet.tensor([True, False])
u8 = ddpnet.tensor([1, 2], dtype=ddpnet.uint8)

ERRORS: dict[str, tuple[type[Exception], str]] = {
    "i // 0": (RuntimeError, "ZeroDivisionError"),
    "i % 0": (RuntimeError, "ZeroDivisionError"),
    "torch.fmod(i, 0)": (RuntimeError, "ZeroDivisionError"),
    "torch.div(i, i - i, rounding_mode='trunc')": (RuntimeError, "ZeroDivisionError"),
    "torch.div(f, 2, rounding_mode='up')": (RuntimeError, "rounding_mode"),
    "i ** -1": (RuntimeError, "negative integer powers"),
    "b ** b": (NotImplementedError, "Bool"),
    "b - b": (RuntimeError, "bool tensor"),
    "f - True": (RuntimeError, "bool tensor"),
    "-b": (RuntimeError, "bool tensor"),
    "+b": (RuntimeError, "bool tensor"),
    "torch.add(i, 1, alpha=1.5)": (RuntimeError, "alpha"),
    "torch.add(f, 1, alpha=True)": (RuntimeError, "Boolean alpha"),
    "torch.abs(b)": (NotImplementedError, "Bool"),
    "torch.frac(i)": (NotImplementedError, "Long"),
    "torch.round(i, decimals=1)": (NotImplementedError, "Long"),
    "f & 1": (NotImplementedError, "Float"),
    "~f": (TypeError, "invert"),
    "torch.bitwise_not(f)": (NotImplementedError, "Float"),
    "u8.clamp(0, 300)": (RuntimeError, "overflow"),
    "torch.where(b, u8, 300)": (RuntimeError, "overflow"),
    "(f.clone().requires_grad_() // 2).sum().backward()": (RuntimeError, "floor_divide"),
    "b << b": (NotImplementedError, "Bool"),
    "torch.gcd(f, f)": (NotImplementedError, "Float"),
    "torch.hypot(i, i)": (NotImplementedError, "Long"),
    "torch.logaddexp(i, i)": (NotImplementedError, "Long"),
    "torch.lerp(i, i, 0.5)": (NotImplementedError, "Long"),
    "torch.lerp(f, f.double(), 0.5)": (RuntimeError, "expected dtype"),
    "torch.addcdiv(i, i, i)": (RuntimeError, "Integer division"),
    "torch.heaviside(f, i)": (RuntimeError, "different dtypes"),
    "torch.isclose(i, f)": (RuntimeError, "did not match"),
    "torch.isclose(f, f, rtol=-1.0)": (RuntimeError, "rtol"),
    "torch.clamp(f)": (RuntimeError, "At least one"),
    "torch.where(i, f, f)": (RuntimeError, "boolean tensor"),
    "f.masked_fill(i, 1)": (RuntimeError, "boolean mask"),
    "f.masked_fill(b, f)": (RuntimeError, "0-dimensional"),
    "u8.masked_fill(b, 300)": (RuntimeError, "overflow"),
    "i.clone().add_(1.5)": (RuntimeError, "result type Float can't be cast to the desired output type Long"),
    "b.clone().add_(1)": (RuntimeError, "result type Long can't be cast to the desired output type Bool"),
    "i.clone().div_(2)": (RuntimeError, "result type Float"),
    "i.clone().exp_()": (RuntimeError, "result type Float"),
    "torch.add(f, f, out=i.clone())": (RuntimeError, "can't be cast"),
    "f.clone().float_power_(2)": (RuntimeError, "dtype Float"),
    "f.clone().add_(torch.ones(3, 2))": (RuntimeError, "broadcast shape"),
    "f + torch.ones(3)": (RuntimeError, ""),
    "torch.maximum(f, 1)": (TypeError, "Tensor"),
    "torch.atan2(1, f)": (TypeError, "Tensor"),
    "torch.eq(1, f)": (TypeError, "Tensor"),
    "torch.fmod(1, f)": (TypeError, "Tensor"),
    "torch.pow(2, 3)": (TypeError, "Tensor"),
    "torch.logical_and(f, 1)": (TypeError, "Tensor"),
    "torch.bitwise_and(2, 3)": (TypeError, "Tensor"),
    "torch.exp([1.0])": (TypeError, ""),
    "torch.add(f, [1])": (TypeError, ""),
    "f + [1]": (TypeError, ""),
    "f < None": (TypeError, ""),
    "torch.imag(f)": (RuntimeError, "imag"),
    "torch.is_nonzero(f)": (RuntimeError, "ambiguous"),
    "i * 2 ** 70": (OverflowError, ""),
    "torch.finfo(torch.int32)": (TypeError, "iinfo"),
    "torch.iinfo(torch.float32)": (TypeError, "finfo"),
    "torch.iinfo(torch.bool)": (TypeError, "bool"),
    "torch.polygamma(-1, f)": (RuntimeError, "negative n"),
}


@pytest.mark.parametrize("expression", ERRORS)
def test_errors(expression: str) -> None:
    kind, words = ERRORS[expression]
    with pytest.raises(kind, match=words or None) as caught:
        eval(expression, {"torch": ddpnet, "f": f, "i": i, "b": b, "u8": u8})
    assert type(caught.value) is kind


@pytest.mark.parametrize("expression", ERRORS)
def test_pytorch_has_these_errors(expression: str) -> None:
    torch = pytest.importorskip("torch")
    ours = {"f": f, "i": i, "b": b, "u8": u8}
    with pytest.raises(ERRORS[expression][0]) as caught:
        eval(expression, {"torch": torch} | {name: torch.tensor(x.numpy()) for name, x in ours.items()})
    assert type(caught.value) is ERRORS[expression][0]


WRAPS = (
    "u8 + 300",
    "u8 - 3",
    "u8 * 1000",
    "i8 + 200",
    "i8 - 200",
    "i16 + 70000",
    "300 - u8",
    "-u8",
    "i64 + 2**63",
    "u8 == 257",
    "i8 < 200",
    "torch.add(u8, u8, alpha=-3)",
    "u8 ** 9",
    "u8.masked_fill(u8 > 1, -1)",
    "~u8",
    "i8 << 7",
    "u8 >> 9",
    "u8 // 7",
    "i8 % 7",
    "-7 // i8",
    "i8 / 3",
    "i8 + True",
    "u8 & -2",
    "b + 2",
    "b * 2.5",
    "b + b",
    "u8 + i8",
    "f16 + f32",
    "u8 + torch.tensor(3.5)",
    "f16 * torch.tensor(2.0)",
    "i8 + torch.tensor(300)",
    "b + u8",
    "bf16 + f16",
    "bf16 * 0.1",
    "f16 * 1e6",
    "torch.tensor(True) + 2",
)


@pytest.mark.parametrize("expression", WRAPS)
def test_wrap_around_and_promotion(expression: str) -> None:
    torch = pytest.importorskip("torch")

    def value(module: Any) -> Any:
        names: dict[str, Any] = {"torch": module, "b": module.tensor([True, False, True])}
        for name, dtype in (("u8", "uint8"), ("i8", "int8"), ("i16", "int16"), ("i64", "int64"), ("f16", "float16")):
            names[name] = module.tensor([1, 2, 100], dtype=getattr(module, dtype))
        names["bf16"] = module.tensor([1.0, 2.0, 100.0], dtype=module.bfloat16)
        names["f32"] = module.tensor([1.0, 2.0, 100.0])
        return eval(expression, names)

    ours, theirs = value(ddpnet), value(torch)
    assert (repr(ours.dtype), ours.tolist()) == (repr(theirs.dtype), theirs.tolist())


def test_result_types() -> None:
    torch = pytest.importorskip("torch")
    names = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64".split()
    for first in names:
        for second in names:
            pair = [(getattr(m, first), getattr(m, second)) for m in (ddpnet, torch)]
            assert repr(ddpnet.promote_types(*pair[0])) == repr(torch.promote_types(*pair[1]))
            assert ddpnet.can_cast(*pair[0]) == torch.can_cast(*pair[1])
            for shape in ((), (1,)):
                operands = [
                    (m.ones(shape, dtype=p[0]), m.ones(1, dtype=p[1]))
                    for m, p in zip((ddpnet, torch), pair, strict=True)
                ]
                assert repr(ddpnet.result_type(*operands[0])) == repr(torch.result_type(*operands[1]))
        for number in (True, 2, 2.5):
            ours, theirs = (m.ones((), dtype=getattr(m, first)) for m in (ddpnet, torch))
            assert repr(ddpnet.result_type(ours, number)) == repr(torch.result_type(theirs, number))
    assert ddpnet.result_type(1, 2.5) is ddpnet.float32


def test_limits() -> None:
    torch = pytest.importorskip("torch")
    for name in ("float16", "bfloat16", "float32", "float64"):
        ours, theirs = ddpnet.finfo(getattr(ddpnet, name)), torch.finfo(getattr(torch, name))
        for limit in ("bits", "eps", "min", "max", "tiny", "smallest_normal", "resolution", "dtype"):
            assert getattr(ours, limit) == getattr(theirs, limit), (name, limit)
        assert repr(ours) == repr(theirs)
    for name in ("uint8", "int8", "int16", "int32", "int64"):
        assert repr(ddpnet.iinfo(getattr(ddpnet, name))) == repr(torch.iinfo(getattr(torch, name)))
        assert ddpnet.iinfo(getattr(ddpnet, name)).bits == torch.iinfo(getattr(torch, name)).bits
    assert ddpnet.finfo().dtype == "float32"


def test_kinds_of_numbers() -> None:
    assert (ddpnet.is_floating_point(f), ddpnet.is_floating_point(i), ddpnet.is_complex(f)) == (True, False, False)
    assert (ddpnet.is_nonzero(ddpnet.tensor([2])), ddpnet.is_nonzero(ddpnet.tensor(0.0))) == (True, False)
    assert (i.is_signed(), u8.is_signed()) == (True, False)
    assert ddpnet.conj(f) is f
    assert ddpnet.real(f) is f
    assert f.real is f


def test_equality() -> None:
    same = ddpnet.tensor([1, 2], dtype=ddpnet.int32)
    assert ddpnet.equal(u8, same)
    assert not ddpnet.equal(u8, ddpnet.tensor([1]))
    assert not ddpnet.equal(ddpnet.tensor(np.nan), ddpnet.tensor(np.nan))
    assert ddpnet.allclose(f, f + 1e-7)
    assert ddpnet.allclose(ddpnet.tensor(np.nan), ddpnet.tensor(np.nan), equal_nan=True)
    assert (f == None) is False  # noqa: E711 - as a program would write it
    assert (f != "a") is True


def test_special_namespace() -> None:
    torch = pytest.importorskip("torch")
    for name in ddpnet.special.__all__:
        assert hasattr(torch.special, name)
