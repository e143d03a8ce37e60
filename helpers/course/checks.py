"""Checks of arguments. Each raises one sentence: the name, what is allowed, what was given.

A wrong value is a `ValueError`, a wrong type a `TypeError`.
"""

import math
from collections.abc import Iterable

import numpy as np


def check_choice(name: str, value: object, allowed: Iterable) -> None:
    """Raise unless `value` is one of the allowed ones."""
    allowed = tuple(allowed)
    if value not in allowed:
        choices = ", ".join(map(repr, allowed))
        raise ValueError(f"{name} must be one of {choices}, got {shown(value)}")


def check_whole(*, low: int = 1, **values: object) -> None:
    """Raise unless each value is a whole number from `low`: `check_whole(low=0, epoch=epoch)`."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} must be a whole number, got {shown(value)}")
        if value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")


def check_seed(**values: object) -> None:
    """Raise unless each value is a whole number from 0 to 2**31 - 1: TensorFlow's are 32 bits."""
    check_whole(low=0, **values)
    for name, value in values.items():
        if value >= 2**31:
            raise ValueError(f"{name} must be below 2**31, got {value}")


def check_positive(**values: object) -> None:
    """Raise unless each value is a finite number above 0."""
    for name, value in values.items():
        _check_number(name, value)
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be finite and above 0, got {value}")


def check_fraction(**values: object) -> None:
    """Raise unless each value is a number from 0 to below 1."""
    for name, value in values.items():
        _check_number(name, value)
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {value}")


def as_sizes(name: str, value: object) -> tuple[int, ...]:
    """Return sizes, each at least 1, as a tuple of whole numbers: 500 says the same as (500,)."""
    sizes = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    if not sizes:
        raise ValueError(f"{name} must hold at least one size, got {shown(value)}")
    for size in sizes:
        check_whole(**{name: size})
    return tuple(int(size) for size in sizes)


def as_uint8_images(images: object) -> np.ndarray:
    """Return images as an array; ValueError unless they are uint8 (n, h, w, c), 255 for white."""
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != 4 or 0 in array.shape:
        raise ValueError(
            f"images must be uint8 (n, h, w, c) and not empty, got {shown(array)}; "
            "helpers.data.from_arrays converts other arrays"
        )
    if array.max() == 1:  # all black under every protocol
        raise ValueError("images hold only 0 and 1, but white is 255: give 255 * images if binary")
    return array


def shown(value: object) -> str:
    """Return a value as a message shows it: an array by its type and shape, nothing at length."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        dtype = getattr(value.dtype, "name", value.dtype)
        return f"{dtype} {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _check_number(name: str, value: object) -> None:
    """Raise unless `value` is an ordinary or a NumPy number."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {shown(value)}")
