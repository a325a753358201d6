"""What due rows of a plan will cost on a CPU and on a GPU, by how long the same took on this store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from affstore.store.contract.printable import lasting
from affstore.store.contract.records import Record
from affstore.tasks.plan_rows import PlanRow
from affstore.tasks.specs import Profile

Device = Literal["cpu", "cuda"]
_OTHER: Mapping[str, Device] = {"cpu": "cuda", "cuda": "cpu"}
_PICTURES = ("face", "visual")


@dataclass(frozen=True, slots=True)
class Price:
    """How long due work takes, in seconds of one process.

    Attributes:
        cpu_s: of work that needs no GPU; None where nothing is known of it, or there is none.
        gpu_s: of work that has a GPU meanwhile, decoding included; None likewise.
        elsewhere_s: how long work of which no rate is known on its device took on the other one.
        elsewhere: how many artifacts these are.
        elsewhere_on: that other device, `cpu` or `cuda`.
        unknown: artifacts of which no rate is known on either.
    """

    cpu_s: float | None = None
    gpu_s: float | None = None
    elsewhere_s: float | None = None
    elsewhere: int = 0
    elsewhere_on: Device = "cpu"
    unknown: int = 0

    @property
    def seconds(self) -> float | None:
        """Both together."""
        known = [seconds for seconds in (self.cpu_s, self.gpu_s) if seconds is not None]
        return sum(known) if known else None

    def as_document(self) -> dict[str, float | int | None]:
        """For other programs."""
        return {
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_s,
            "gpu_seconds": self.gpu_s,
            "seconds_on_other_device": self.elsewhere_s,
            "artifacts_without_rate": self.elsewhere + self.unknown,
        }

    def __str__(self) -> str:
        """As `about 2 h 1 min on CPU and 12 min 3 s on GPU`."""
        by_device = ((self.cpu_s, "CPU"), (self.gpu_s, "GPU"))
        known = [f"{lasting(seconds)} on {device}" for seconds, device in by_device if seconds is not None]
        texts = [f"about {' and '.join(known)}"] if known else []
        if self.elsewhere_s is not None:
            asked, other = ("GPU", "CPU") if self.elsewhere_on == "cpu" else ("CPU", "GPU")
            texts.append(
                f"not known on {asked} yet for {self.elsewhere} artifacts, which took about "
                f"{lasting(self.elsewhere_s)} on {other}"
            )
        return "; ".join(texts) or "not known yet"


def priced(rows: Iterable[PlanRow], records: Iterable[Record], profile: Profile, device: str) -> list[PlanRow]:
    """Rows with the device that they will run on and the seconds that they will take there.

    A rate of one device never prices work on the other: it is kept beside, as `other_cost_s`. Of several engines on a
    device, the one that is asked for counts, and all of them where it has not run yet.

    Args:
        rows: of a plan.
        records: of the store; each says how long it took, on which device and by which engine.
        profile: what is wanted, with the engines that will run it.
        device: that networks will run on, `cpu` or `cuda`.
    """
    rates = _rates(records)
    engines = {spec.name: spec.engine for spec in (profile.detector, *profile.extractors)}
    return [_priced(row, rates, device, engines.get(row.address.producer, "")) for row in rows]


def price_of(rows: Iterable[PlanRow]) -> Price:
    """What due rows cost together.

    A video's pictures pass once for its faces and all networks on them, and each of these says how long that took.
    """
    due = [row for row in rows if row.due and row.requested]
    elsewhere = [row for row in due if row.cost_s is None and row.other_cost_s is not None]
    seconds = {name: _together(row for row in due if row.cost_s is not None and row.device == name) for name in _OTHER}
    return Price(
        seconds["cpu"],
        seconds["cuda"],
        _together(replace(row, cost_s=row.other_cost_s) for row in elsewhere),
        len(elsewhere),
        _OTHER[elsewhere[0].device] if elsewhere else "cpu",
        sum(row.cost_s is None and row.other_cost_s is None for row in due),
    )


def _together(rows: Iterable[PlanRow]) -> float | None:
    pictures: dict[str, float] = {}
    others: list[float] = []
    for row in rows:
        cost_s = row.cost_s or 0.0
        if row.address.family in _PICTURES:
            pictures[row.address.video] = max(pictures.get(row.address.video, 0.0), cost_s)
        else:
            others.append(cost_s)
    return sum([*pictures.values(), *others]) if pictures or others else None


_Rates = Mapping[tuple[str, ...], float]
"""Seconds a frame, by family, producer and device, and by these and the engine."""


def _rates(records: Iterable[Record]) -> _Rates:
    """How long a frame took each producer on this store, by the median video."""
    found: dict[tuple[str, ...], list[float]] = {}
    for record in records:
        elapsed, frames = record.made.get("elapsed_s"), record.attributes.get("frames")
        if elapsed is not None and frames:
            on = (record.address.family, record.address.producer, _kind(str(record.made.get("device", "cpu"))))
            for key in (on, (*on, str(record.made.get("engine", "")))):
                found.setdefault(key, []).append(elapsed / frames)
    return {key: median(values) for key, values in found.items()}


def _kind(device: str) -> Device:
    return "cuda" if device.startswith("cuda") else "cpu"


def _priced(row: PlanRow, rates: _Rates, device: str, engine: str) -> PlanRow:
    if not row.due:
        return row
    # The faces of a crop folder are read, not found: no network runs.
    on = _kind(device) if engine else "cpu"
    rate, other = (_rate(rates, (row.address.family, row.address.producer, one), engine) for one in (on, _OTHER[on]))
    return replace(
        row,
        device=on,
        cost_s=None if rate is None else rate * row.frames,
        other_cost_s=None if rate is not None or other is None else other * row.frames,
    )


def _rate(rates: _Rates, on: Sequence[str], engine: str) -> float | None:
    return rates.get((*on, engine), rates.get(tuple(on)))
