"""Which faults of a unit of work may pass, and how often and after which pause the unit is then tried again.

Only these: files or a store that do not answer now, a GPU without memory, a worker process that died. Whatever is said
of an input, a configuration, rights or room stays as it is, and is never tried twice.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from affstore.store.contract.errors import AffstoreError, DeviceMemoryError, StoreUnreachableError
from affstore.store.contract.files import may_pass

MOST_RETRIES = 10
_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class PassingFault:
    """A kind of fault that may be gone a moment later.

    Attributes:
        retries: how often a unit is tried again after one at most, also where a run asks for more.
        pause_s: seconds before it is tried again; twice as many before each further try.
    """

    retries: int
    pause_s: float


FAULTS: Mapping[str, PassingFault] = {
    "files": PassingFault(MOST_RETRIES, 2.0),
    "store": PassingFault(MOST_RETRIES, 5.0),
    "gpu": PassingFault(1, 2.0),
    "worker": PassingFault(1, 1.0),
}
"""The kinds of faults that may pass. A unit that ended its worker is tried once more: Dask gives it four workers each
time before it says so, and blames those that waited beside it as well."""

_KILLED = "KilledWorker"
_SCHEDULER_GONE = "the Dask scheduler went away before it was done; start one, and run the command again"
LOST_WORK: Mapping[str, str] = {
    "CancelledError": _SCHEDULER_GONE,
    "FutureCancelledError": _SCHEDULER_GONE,
    _KILLED: "each worker process that began it died, as when memory runs out; give each more, with fewer "
    "--workers, and run the command again",
}
"""What Dask's errors of work that was lost mean, by their names: these modules do without Dask."""
_NOTED = "passing_fault"
_GPU_FAULTS = ("CUDA error", "CUDA out of memory", "CUBLAS_STATUS", "CUDNN_STATUS", "cuDNN error")


def noting_fault[E: Exception](error: E, fault: str) -> E:
    """The error, which keeps the kind of fault that it comes from where its causes get lost."""
    vars(error)[_NOTED] = fault
    return error


def passing_fault(error: object) -> str:
    """The kind of fault that an error comes from, one of `FAULTS`; empty where it does not pass."""
    noted = getattr(error, _NOTED, None)
    return noted if isinstance(noted, str) else next((kind for one in _causes(error) if (kind := _kind(one))), "")


def ended_its_workers(error: object) -> bool:
    """Whether workers died with a unit of work, as Dask says, and it did not only go away with a scheduler."""
    return type(error).__name__ == _KILLED


def raise_what_passes(error: BaseException) -> None:
    """Raise the fault behind an error if it may pass: what is said of the input then tells nothing about it.

    Raises:
        OSError: files do not answer now.
    """
    for cause in _causes(error):
        if _kind(cause):
            raise cause


def _causes(error: object) -> Iterator[BaseException]:
    while isinstance(error, BaseException):
        yield error
        error = error.__cause__


def _kind(error: BaseException) -> str:
    """Dask and torch are known by the names of their errors: the command may do without both."""
    name = type(error).__name__
    if isinstance(error, StoreUnreachableError):
        return "store"
    if isinstance(error, DeviceMemoryError) or name == "OutOfMemoryError":
        return "gpu"
    if isinstance(error, AffstoreError):
        return ""
    if isinstance(error, OSError):  # FFmpeg says EIO of files that are not whole, too
        return "files" if may_pass(error) and not type(error).__module__.startswith("av.") else ""
    if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _GPU_FAULTS):
        return "gpu"
    return "worker" if name in LOST_WORK else ""


def pause_before_retry(fault: str, tried: int, retries: int, ends_at: float | None) -> float | None:
    """How many seconds to wait before another try; None where there is to be none.

    Args:
        fault: one of `FAULTS`, or empty.
        tried: how often it was tried so far, at least once.
        retries: how often the run tries a unit again.
        ends_at: seconds since 1970 after which nothing is begun any more; None for no end.
    """
    kind = FAULTS.get(fault)
    if kind is None or tried > min(retries, kind.retries):
        return None
    pause_s = min(kind.pause_s * 2 ** (tried - 1), _LONGEST_PAUSE_S)
    return None if ends_at is not None and time.time() + pause_s >= ends_at else pause_s


def freeing_gpu[**P, T](do: Callable[P, T]) -> Callable[P, T]:
    """Make a unit of work that leaves no memory of a GPU in use where it failed by a fault of that.

    Raises:
        DeviceMemoryError: the GPU had no memory left.
    """

    @functools.wraps(do)
    def carried_out(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            found = do(*args, **kwargs)
        except Exception as error:
            if passing_fault(error) != "gpu":
                raise
            fault = _without_frames(error)
        else:
            if getattr(getattr(found, "outcome", found), "fault", "") == "gpu":
                _free_gpu()
            return found
        _free_gpu()
        raise fault

    return carried_out


def _without_frames(error: Exception) -> Exception:
    """The same fault; the error itself holds its frames, and with them what they had on the GPU."""
    if isinstance(error, AffstoreError):
        return type(error)(*error.args)
    text = " ".join(str(error).split())[:300]
    return DeviceMemoryError(f"The GPU did not do it ({text}). Leave it more room, as with fewer --workers.")


def _free_gpu() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
