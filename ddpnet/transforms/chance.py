"""Transforms that draw, from ddpnet's default generator: in a DataLoader what they draw depends on the batch alone."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddpnet.random import default_generator
from ddpnet.tensor import Tensor
from ddpnet.transforms import functional
from ddpnet.transforms.image import Extent, Image
from ddpnet.transforms.resampling import InterpolationMode


def _chance(probability: float) -> bool:
    return bool(default_generator().draw().random() < probability)


class _Flip:
    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomHorizontalFlip(_Flip):
    """Left and right exchanged with probability `p`."""

    def __call__(self, img: Image) -> Image:
        return functional.hflip(img) if _chance(self.p) else img


class RandomVerticalFlip(_Flip):
    """Top and bottom exchanged with probability `p`."""

    def __call__(self, img: Image) -> Image:
        return functional.vflip(img) if _chance(self.p) else img


class RandomCrop:
    """A part of the image of `size` (height, width) at a random place, after `padding`; ValueError if it is larger."""

    def __init__(
        self,
        size: Extent,
        padding: Extent | None = None,
        pad_if_needed: bool = False,
        fill: float = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = functional.pair(size)
        self.padding = padding
        self.pad_if_needed = pad_if_needed
        self.fill = fill
        self.padding_mode = padding_mode

    @staticmethod
    def get_params(img: Image, output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Top, left, height and width of a part, drawn."""
        _, rows, columns = functional.get_dimensions(img)
        height, width = output_size
        if rows < height or columns < width:
            raise ValueError(f"Required crop size {(height, width)} is larger than input image size {(rows, columns)}")
        if (rows, columns) == (height, width):
            return 0, 0, rows, columns
        rng = default_generator().draw()
        return int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1)), height, width

    def __call__(self, img: Image) -> Image:
        if self.padding is not None:
            img = functional.pad(img, self.padding, self.fill, self.padding_mode)
        if self.pad_if_needed:
            _, rows, columns = functional.get_dimensions(img)
            missing = [max(self.size[1] - columns, 0), max(self.size[0] - rows, 0)]
            if any(missing):
                img = functional.pad(img, missing, self.fill, self.padding_mode)
        return functional.crop(img, *self.get_params(img, self.size))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, padding={self.padding})"


class RandomResizedCrop:
    """A part of the image, of random size and proportions, in the size `size` (C. Szegedy et al., 2015)."""

    def __init__(
        self,
        size: Extent,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        self.size = functional.pair(size)
        if scale[0] > scale[1] or ratio[0] > ratio[1]:
            warnings.warn("Scale and ratio should be of kind (min, max)", stacklevel=2)
        self.scale = scale
        self.ratio = ratio
        self.interpolation = InterpolationMode(interpolation)
        self.antialias = antialias

    @staticmethod
    def get_params(img: Image, scale: Sequence[float], ratio: Sequence[float]) -> tuple[int, int, int, int]:
        """Top, left, height and width of a part, drawn; the middle of the image if ten draws do not fit in."""
        _, rows, columns = functional.get_dimensions(img)
        rng = default_generator().draw()
        for _ in range(10):
            area = rows * columns * rng.uniform(scale[0], scale[1])
            proportion = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
            width, height = round(math.sqrt(area * proportion)), round(math.sqrt(area / proportion))
            if 0 < width <= columns and 0 < height <= rows:
                return int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1)), height, width
        height, width = rows, columns
        if columns / rows < min(ratio):
            height = round(width / min(ratio))
        elif columns / rows > max(ratio):
            width = round(height * max(ratio))
        return (rows - height) // 2, (columns - width) // 2, height, width

    def __call__(self, img: Image) -> Image:
        part = self.get_params(img, self.scale, self.ratio)
        return functional.resized_crop(img, *part, self.size, self.interpolation, self.antialias)

    def __repr__(self) -> str:
        scale, ratio = (tuple(round(value, 4) for value in values) for values in (self.scale, self.ratio))
        detail = f"(size={self.size}, scale={scale}, ratio={ratio}, interpolation={self.interpolation.value}"
        return f"{type(self).__name__}{detail}, antialias={self.antialias})"


class RandomRotation:
    """The image turned by an angle from -degrees to degrees, or from a pair (least, most)."""

    def __init__(
        self,
        degrees: float | Sequence[float],
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Sequence[int] | None = None,
        fill: float = 0,
    ) -> None:
        if expand:
            raise NotImplementedError("RandomRotation: expand=True is not supported")
        if isinstance(degrees, int | float):
            if degrees < 0:
                raise ValueError("If degrees is a single number, it must be positive.")
            degrees = (-degrees, degrees)
        elif len(degrees) != 2:
            raise ValueError("degrees should be a sequence of length 2.")
        self.degrees = [float(angle) for angle in degrees]
        self.interpolation = InterpolationMode(interpolation)
        self.expand = expand
        self.center = center
        self.fill = fill

    @staticmethod
    def get_params(degrees: Sequence[float]) -> float:
        """An angle, drawn."""
        return float(default_generator().draw().uniform(degrees[0], degrees[1]))

    def __call__(self, img: Image) -> Image:
        return functional.rotate(img, self.get_params(self.degrees), self.interpolation, False, self.center, self.fill)

    def __repr__(self) -> str:
        detail = f"(degrees={self.degrees}, interpolation={self.interpolation.value}, expand={self.expand}"
        return f"{type(self).__name__}{detail}, fill={self.fill})"


class RandomErasing:
    """A random rectangle of a tensor overwritten with probability `p` (Z. Zhong et al., 2017).

    By `value`: a number, one a channel, or "random" for normally distributed ones.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | Sequence[float] | str = 0,
        inplace: bool = False,
    ) -> None:
        if isinstance(value, str) and value != "random":
            raise ValueError("If value is str, it should be 'random'")
        if not 0 <= scale[0] <= scale[1] <= 1:
            raise ValueError("Scale should be between 0 and 1")
        if not 0 <= p <= 1:
            raise ValueError("Random erasing probability should be between 0 and 1")
        self.p = p
        self.scale = scale
        self.ratio = ratio
        self.value = value
        self.inplace = inplace

    def __call__(self, img: Tensor) -> Tensor:
        if not _chance(self.p):
            return img
        channels, rows, columns = functional.get_dimensions(img)
        values = self.value if isinstance(self.value, str | Sequence) else [self.value]
        if not isinstance(values, str) and len(values) not in (1, channels):
            raise ValueError(
                f"If value is a sequence, it should have either a single value or {channels} (number of channels)"
            )
        rng = default_generator().draw()
        for _ in range(10):
            area = rows * columns * rng.uniform(self.scale[0], self.scale[1])
            proportion = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            height, width = round(math.sqrt(area * proportion)), round(math.sqrt(area / proportion))
            if not (height < rows and width < columns):
                continue
            top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
            fresh = (
                rng.standard_normal((channels, height, width))
                if values == "random"
                else np.array(values)[:, None, None]
            )
            fill = Tensor(np.asarray(fresh).astype(img.array.dtype))
            return functional.erase(img, top, left, height, width, fill, self.inplace)
        return img

    def __repr__(self) -> str:
        detail = f"(p={self.p}, scale={self.scale}, ratio={self.ratio}, value={self.value}"
        return f"{type(self).__name__}{detail}, inplace={self.inplace})"


class RandomApply:
    """All of the transforms with probability `p`, else none."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: float = 0.5) -> None:
        self.transforms = transforms
        self.p = p

    def __call__(self, img: Any) -> Any:
        if _chance(self.p):
            for transform in self.transforms:
                img = transform(img)
        return img

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}(", f"    p={self.p}", *(f"    {one}" for one in self.transforms), ")"]
        return "\n".join(lines)


class RandomChoice:
    """One of the transforms, with probabilities proportional to `p`, or equal ones."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: Sequence[float] | None = None) -> None:
        self.transforms = transforms
        self.p = p

    def __call__(self, img: Any) -> Any:
        weights = None if self.p is None else np.asarray(self.p, float) / sum(self.p)
        return self.transforms[int(default_generator().draw().choice(len(self.transforms), p=weights))](img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"
