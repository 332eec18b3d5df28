"""Transforms of images; PyTorch's interpolation is asked where torchvision's is made of it."""

import math

import numpy as np
import pytest

import ddpnet
from ddpnet import random, transforms
from ddpnet.datasets import MNIST
from ddpnet.transforms import functional as F
from ddpnet.utils.data import DataLoader

GREY = np.arange(42, dtype=np.uint8).reshape(6, 7) * 5
COLOUR = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)


@pytest.fixture(autouse=True)
def seeded():
    state = random.get_rng_state()
    random.manual_seed(5)
    yield
    random.set_rng_state(state)


def test_to_tensor():
    x = transforms.ToTensor()(GREY)
    assert (x.shape, x.dtype) == ((1, 6, 7), ddpnet.float32)
    np.testing.assert_array_equal(x.array[0], GREY.astype(np.float32) / np.float32(255))
    x = transforms.ToTensor()(COLOUR)
    assert x.shape == (3, 6, 7)
    np.testing.assert_array_equal(x.array, np.moveaxis(COLOUR, 2, 0).astype(np.float32) / np.float32(255))
    floats = transforms.ToTensor()(GREY.astype(np.float64))
    assert (floats.dtype, floats.max().item()) == (ddpnet.float64, 205.0)
    assert transforms.PILToTensor()(COLOUR).dtype is ddpnet.uint8
    with pytest.raises(TypeError, match="ndarray"):
        transforms.ToTensor()(ddpnet.zeros(1, 2, 2))
    with pytest.raises(ValueError, match="2/3 dimensional"):
        transforms.ToTensor()(np.zeros(3))


def test_normalize():
    x = ddpnet.rand(3, 4, 5)
    y = transforms.Normalize((0.1, 0.2, 0.3), (0.5, 1.0, 2.0))(x)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in ((0.1, 0.2, 0.3), (0.5, 1.0, 2.0)))
    np.testing.assert_array_equal(y.array, (x.array - mean) / std)
    one = transforms.Normalize((0.1307,), (0.3081,))
    assert one(ddpnet.zeros(2, 1, 4, 4)).shape == (2, 1, 4, 4)
    z = x.clone()
    assert transforms.Normalize([0.5], [0.5], inplace=True)(z) is z
    assert repr(one) == "Normalize(mean=(0.1307,), std=(0.3081,))"
    for wrong, error in ((GREY, TypeError), (ddpnet.ones(1, 2, 2, dtype=ddpnet.uint8), TypeError), (x[0], ValueError)):
        with pytest.raises(error):
            one(wrong)
    with pytest.raises(ValueError, match="zero"):
        transforms.Normalize([0.5], [0.0])(x)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(3, 4), (12, 15), (6, 3), (5, 20), 4, 10])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_resize_is_pytorchs(size, dtype, antialias):
    oracle = pytest.importorskip("torch")
    x = (COLOUR.transpose(2, 0, 1) if dtype == "uint8" else np.random.default_rng(0).random((3, 6, 7))).astype(dtype)
    y = transforms.Resize(size, antialias=antialias)(ddpnet.from_numpy(x))
    height, width = size if isinstance(size, tuple) else (size, int(size * 7 / 6))
    wide = oracle.from_numpy(x[None].astype("float32" if dtype == "uint8" else dtype))
    z = oracle.nn.functional.interpolate(
        wide, (height, width), mode="bilinear", align_corners=False, antialias=antialias
    )[0].numpy()
    assert (y.shape, y.array.dtype) == ((3, height, width), x.dtype)
    np.testing.assert_allclose(y.array, np.rint(z) if dtype == "uint8" else z, atol=1 if dtype == "uint8" else 1e-5)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("size", [(3, 4), (12, 15), (7, 3)])
def test_nearest_is_pytorchs(size, mode):
    oracle = pytest.importorskip("torch")
    x = COLOUR.transpose(2, 0, 1)
    y = F.resize(ddpnet.from_numpy(np.ascontiguousarray(x)), size, transforms.InterpolationMode(mode))
    z = oracle.nn.functional.interpolate(oracle.from_numpy(x[None].copy()), size, mode=mode)[0]
    np.testing.assert_array_equal(y.array, z.numpy())


def test_sizes():
    assert transforms.Resize(3)(GREY).shape == (3, 3)
    assert transforms.Resize(12)(COLOUR).shape == (12, 14, 3)
    assert transforms.Resize(12, max_size=13)(GREY).shape == (11, 13)
    assert transforms.Resize((6, 7))(GREY) is GREY
    assert repr(transforms.Resize(32)) == "Resize(size=32, interpolation=bilinear, max_size=None, antialias=True)"
    for arguments, error in (((3.5,), TypeError), (((1, 2, 3),), ValueError)):
        with pytest.raises(error):
            transforms.Resize(*arguments)(GREY)
    with pytest.raises(ValueError, match="bicubic"):
        transforms.Resize(3, interpolation="bicubic")
    with pytest.raises(ValueError, match="max_size"):
        transforms.Resize(3, max_size=3)(GREY)


@pytest.mark.parametrize(
    "image", [GREY, COLOUR, ddpnet.rand(2, 3, 6, 7), ddpnet.rand(6, 7)], ids=["hw", "hwc", "bchw", "t"]
)
def test_geometry(image):
    def plain(value):
        array = value.array if isinstance(value, ddpnet.Tensor) else value
        return np.moveaxis(array, -1, 0) if array.ndim == 3 and array.shape[-1] == 3 else array

    x = plain(image)
    np.testing.assert_array_equal(plain(F.hflip(image)), x[..., ::-1])
    np.testing.assert_array_equal(plain(F.vflip(image)), x[..., ::-1, :])
    np.testing.assert_array_equal(plain(F.crop(image, 1, 2, 3, 4)), x[..., 1:4, 2:6])
    outside = plain(F.crop(image, -1, 4, 4, 5))
    np.testing.assert_array_equal(outside[..., 1:, :3], x[..., :3, 4:])
    assert outside[..., 0, :].any() == outside[..., 3:].any() == False  # noqa: E712
    np.testing.assert_array_equal(plain(F.center_crop(image, 4)), x[..., 1:5, 2:6])
    assert plain(F.center_crop(image, (8, 4))).shape[-2:] == (8, 4)
    for mode in ("constant", "edge", "reflect", "symmetric"):
        widths = [(0, 0)] * (x.ndim - 2) + [(2, 4), (1, 3)]
        np.testing.assert_array_equal(plain(F.pad(image, (1, 2, 3, 4), 0, mode)), np.pad(x, widths, mode))
    assert plain(F.pad(image, 1, fill=7))[..., 0, 0].min() == 7
    assert plain(F.pad(image, (1, 2))).shape[-2:] == (10, 9)
    np.testing.assert_array_equal(plain(F.rotate(image, 180)), x[..., ::-1, ::-1])
    square = F.crop(image, 0, 0, 6, 6)
    np.testing.assert_array_equal(plain(F.rotate(square, 90)), np.rot90(plain(square), 1, (-2, -1)))
    assert F.get_dimensions(image) == [
        {"uint8": x.shape[0] if x.ndim == 3 else 1}.get(str(x.dtype), 3 if x.ndim == 4 else 1),
        6,
        7,
    ]
    assert type(F.hflip(image)) is type(image)


def test_rotation_between_pixels():
    x = ddpnet.rand(1, 9, 9, dtype=ddpnet.float64)
    smooth = F.rotate(
        F.rotate(x, 30, transforms.InterpolationMode.BILINEAR), -30, transforms.InterpolationMode.BILINEAR
    )
    assert abs(smooth[0, 4, 4].item() - x[0, 4, 4].item()) < 0.3
    assert F.rotate(ddpnet.ones(1, 9, 9), 45, fill=5)[0, 0, 0].item() == 5
    with pytest.raises(NotImplementedError, match="expand"):
        F.rotate(x, 30, expand=True)


def test_convert_image_dtype():
    x = ddpnet.tensor([[0, 127, 255]], dtype=ddpnet.uint8)
    floats = transforms.ConvertImageDtype(ddpnet.float32)(x)
    np.testing.assert_array_equal(floats.array, x.array.astype(np.float32) / np.float32(255))
    assert transforms.ConvertImageDtype(ddpnet.uint8)(floats).tolist() == x.tolist()
    assert F.convert_image_dtype(x, ddpnet.int32).tolist() == [[0, 127 << 23, 255 << 23]]
    assert F.convert_image_dtype(F.convert_image_dtype(x, ddpnet.int32), ddpnet.uint8).tolist() == x.tolist()
    assert F.convert_image_dtype(x, ddpnet.uint8) is x
    with pytest.raises(RuntimeError, match="cannot be performed safely"):
        F.convert_image_dtype(floats, ddpnet.int64)


def test_grey():
    grey = transforms.Grayscale()(COLOUR)
    assert grey.shape == (6, 7)
    assert np.abs(grey - COLOUR @ [0.2989, 0.587, 0.114]).max() <= 1
    assert transforms.Grayscale(3)(ddpnet.rand(3, 4, 4)).shape == (3, 4, 4)
    assert transforms.Grayscale(3)(GREY).shape == (6, 7, 3)


def counted(transform, image, count=2000):
    return [transform(image) for _ in range(count)]


def test_random_flips():
    for kind in (transforms.RandomHorizontalFlip, transforms.RandomVerticalFlip):
        changed = sum(not np.array_equal(x, GREY) for x in counted(kind(0.3), GREY))
        assert 500 < changed < 700
        assert all(x is GREY for x in counted(kind(0), GREY, 20))
        assert repr(kind()) == f"{kind.__name__}(p=0.5)"


def test_random_crop():
    crop = transforms.RandomCrop(4, padding=2)
    results = counted(crop, GREY)
    assert {x.shape for x in results} == {(4, 4)}
    assert len({x.tobytes() for x in results}) == 7 * 8
    random.manual_seed(1)
    again = [x.tolist() for x in counted(crop, GREY, 5)]
    random.manual_seed(1)
    assert [x.tolist() for x in counted(crop, GREY, 5)] == again
    assert transforms.RandomCrop((6, 7))(GREY).tolist() == GREY.tolist()
    assert transforms.RandomCrop(10, pad_if_needed=True)(GREY).shape == (10, 10)
    with pytest.raises(ValueError, match="larger than input"):
        transforms.RandomCrop(10)(GREY)
    assert repr(transforms.RandomCrop(32, padding=4)) == "RandomCrop(size=(32, 32), padding=4)"


def test_other_random_ones():
    assert {x.shape for x in counted(transforms.RandomResizedCrop(5), COLOUR, 50)} == {(5, 5, 3)}
    assert len({x.tobytes() for x in counted(transforms.RandomRotation(90), GREY, 50)}) > 10
    turned = transforms.RandomRotation((180, 180))(GREY)
    np.testing.assert_array_equal(turned, GREY[::-1, ::-1])
    erased = counted(transforms.RandomErasing(p=1, value=2), ddpnet.zeros(3, 16, 16), 100)
    areas = [(x == 2).sum().item() / 3 / 256 for x in erased]
    assert 0.01 < min(areas) < max(areas) < 0.4
    assert transforms.RandomErasing(p=1, value="random")(ddpnet.zeros(3, 16, 16)).array.std() > 0
    assert transforms.RandomErasing(p=0)(COLOUR) is COLOUR
    assert sum(x is GREY for x in counted(transforms.RandomApply([transforms.Lambda(np.copy)], 0.25), GREY)) > 1300
    chosen = counted(
        transforms.RandomChoice([transforms.Lambda(lambda x: 1), transforms.Lambda(lambda x: 2)], [3, 1]), 0
    )
    assert 1350 < chosen.count(1) < 1650
    for wrong in (lambda: transforms.RandomErasing(value="some"), lambda: transforms.RandomRotation(-1)):
        with pytest.raises(ValueError, match="If"):
            wrong()


def test_compose():
    steps = transforms.Compose(
        [transforms.ToTensor(), transforms.Lambda(lambda x: x * 2), transforms.Normalize([1], [2])]
    )
    assert math.isclose(steps(GREY).max().item(), (205 / 255 * 2 - 1) / 2, rel_tol=1e-6)
    text = "Compose(\n    ToTensor()\n    Lambda()\n    Normalize(mean=[1], std=[2])\n)"
    assert repr(steps) == text


def test_a_dataset_with_transforms_in_workers():
    steps = [transforms.RandomCrop(28, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    dataset = MNIST(train=False, transform=transforms.Compose([*steps, transforms.Normalize((0.1307,), (0.3081,))]))
    batches = []
    for workers in (0, 2):
        random.manual_seed(3)
        batches.append([next(iter(DataLoader(dataset, 8, num_workers=workers)))[0]])
    assert batches[0][0].shape == (8, 1, 28, 28)
    np.testing.assert_array_equal(batches[0][0].array, batches[1][0].array)


def test_every_name_is_public():
    assert all(hasattr(transforms, name) for name in transforms.__all__)
    assert all(hasattr(F, name) for name in F.__all__)
