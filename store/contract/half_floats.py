"""Embeddings in half the room: float16 in the store, float32 wherever one computes with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import OutOfRangeError

LARGEST = float(np.finfo(np.float16).max)
_AT_ONCE = 1 << 16
"""Numbers that stay in a core's cache from one step to the next."""
_SIGN_AND_NUMBER = np.int32(-0x70000001)
_BIAS = np.float32(2.0**112)
"""Between the exponents of both types."""
_SMALLEST = np.array([1 << 13], np.int32).view(np.float32)


def to_float16(values: NDArray[np.float32], whose: str) -> NDArray[np.float16]:
    """The nearest numbers of float16.

    Args:
        values: of any shape. What is not finite stays so, for the store to refuse.
        whose: values they are, for the message.

    Raises:
        OutOfRangeError: one is so large that float16 has infinity in its place.
    """
    with np.errstate(over="ignore"):
        half: NDArray[np.float16] = values.astype(np.float16)
    lost = np.isfinite(values) & ~np.isfinite(half)
    if lost.any():
        largest = float(np.abs(values[lost]).max())
        raise OutOfRangeError(
            f"{np.count_nonzero(lost)} numbers of {whose} are beyond the largest of float16, {LARGEST:g}: up to "
            f"{largest:g}. Store its embeddings in float32."
        )
    return half


def to_float32(values: NDArray[Any]) -> NDArray[Any]:
    """The same numbers, in float32 if they were in float16; other arrays are given back as they are.

    NumPy looks at each half by itself. Moved to where float32 has exponent and fraction, all of them are off by one
    power of two, and a product puts that right, exactly and for many at once. What is not finite is not meant to come.
    """
    if values.dtype != np.float16:
        return values
    if not (_SMALLEST * _BIAS).all():  # a library made this thread take the smallest numbers for 0
        return values.astype(np.float32)
    halves = np.ascontiguousarray(values).reshape(-1).view(np.int16)
    found = np.empty(values.shape, np.float32)
    numbers = found.reshape(-1)
    bits = numbers.view(np.int32)
    for begin in range(0, len(halves), _AT_ONCE):
        here = slice(begin, begin + _AT_ONCE)
        bits[here] = halves[here]  # the sign fills the upper half
        np.left_shift(bits[here], 13, out=bits[here])
        np.bitwise_and(bits[here], _SIGN_AND_NUMBER, out=bits[here])
        np.multiply(numbers[here], _BIAS, out=numbers[here])
    return found
