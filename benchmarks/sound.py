"""What extracting sound costs: beside torch in float32, beside the bare engine, and beside the networks alone.

- wav2vec: wav2vec 2.0 base from the file to a committed store, as a run does it: decoded, resampled, cut, embedded,
  brought to frames, written, committed; beside the same network's forward passes over the same segments in memory.
- five: the five sound networks of the papers in one pass over the file, beside the sum of their passes alone; how often
  the sound was decoded and resampled meanwhile is counted.

Each network runs on the engine that a run chooses here, unless `--engine` and `--precision` name one, and beside it on
torch in float32: how many times as fast it is, how near its vectors come, and which share of its time the engine itself
takes (the rest is spectrograms and cutting). Everything runs on one thread, as a run's sound does for each video, and
time is that of the processor, which other loads disturb less. Sides are timed in turn, several times; a ratio is the
median of the rounds' ratios. Weights are the reference files' where there are some, else untrained. The sound is speech
at 44.1 kHz, so that every network needs another rate than the file's; noise where the media are not at hand.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from bench.arguments import parser_of
from bench.clocks import spent
from bench.workplace import Workplace
from numpy.typing import NDArray

from affstore.flows.commands.options import print_table
from affstore.models import audio_pass as hearing
from affstore.models.demo.film import Pictures, Recording, write_film
from affstore.models.engines.openvino_models import Chain
from affstore.models.extractors.base import SoundExtractor, SoundOutput
from affstore.models.extractors.registry import build_sound
from affstore.models.fidelity import Fidelity, fidelity
from affstore.models.media import sound as decoding
from affstore.models.media.sound import read_sound
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.clock import FrameClock
from affstore.tasks.extract.jobs import VideoJob
from affstore.tasks.extract.networks import sound_network
from affstore.tasks.ingest.sources import facts_of

BASE = "wav2vec2_base_960h"
FIVE = (BASE, "hubert_superb_er", "wav2vec2_large_msp_dim", "hubert_large_ls960", "openl3_env_mel128_512")
FILE_HZ, FRAMES_HZ = 44_100, 25
SPEECH = ("jfk.wav", "libri-1088-134315-0000.wav")
HEAD = ("side", "x real time", "torch float32", "times", "of it in the engine", "least cosine")


def film_of(path: Path, length_s: int, media: Path) -> Path:
    """Black pictures and speech."""
    black, frames = np.zeros((48, 64, 3), np.uint8), length_s * FRAMES_HZ
    spoken = [media / "speech" / name for name in SPEECH if (media / "speech" / name).is_file()]
    if spoken:
        wave = np.resize(np.concatenate([read_sound(file, FILE_HZ).samples for file in spoken]), length_s * FILE_HZ)
    else:
        wave = 0.1 * np.random.default_rng(0).standard_normal(length_s * FILE_HZ).astype(np.float32)
    pictures = Pictures(iter([black] * frames), (64, 48), FrameClock.uniform(FRAMES_HZ, frames))
    write_film(path, pictures, Recording(wave, FILE_HZ))
    return path


def extract(place: Workplace, job: VideoJob) -> None:
    """Do the job in a copy of the store that knows nothing of it, and commit what it wrote."""
    url = tempfile.mkdtemp(dir=Path(place.context.store_url).parent)
    shutil.copytree(place.context.store_url, url, dirs_exist_ok=True)
    there = replace(place, context=replace(place.context, store_url=url))
    outcome = there.extract(job)
    if outcome.status != "done":
        raise SystemExit(f"'{outcome.subject}' is {outcome.status}: {outcome.reason}")
    there.commit(outcome)
    shutil.rmtree(url)


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """How often sound is decoded and resampled meanwhile."""
    counts = {"decodes": 0, "resamplings": 0}

    def counting(what: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def do(*words: Any, **named: Any) -> Any:
            counts[what] += 1
            return work(*words, **named)

        return do

    class Tape(decoding._Tape):
        def __init__(self, rate_in_hz: int, rate_out_hz: int) -> None:
            super().__init__(rate_in_hz, rate_out_hz)
            counts["resamplings"] += rate_in_hz != rate_out_hz

    kept = hearing.read_sounds, hearing.resampled, decoding._Tape
    hearing.read_sounds = counting("decodes", kept[0])
    hearing.resampled = counting("resamplings", kept[1])
    decoding._Tape = Tape
    try:
        yield counts
    finally:
        hearing.read_sounds, hearing.resampled, decoding._Tape = kept


@contextmanager
def timed_engine() -> Iterator[list[float]]:
    """Seconds of processor of each call of an OpenVINO model meanwhile."""
    took: list[float] = []
    call = Chain.__call__

    def timed(chain: Chain, *inputs: Any) -> Any:
        found: list[Any] = []
        took.append(spent(lambda: found.extend(call(chain, *inputs))).cpu_s)
        return found

    Chain.__call__ = timed  # type: ignore[method-assign]
    try:
        yield took
    finally:
        Chain.__call__ = call  # type: ignore[method-assign]


@dataclass(slots=True)
class Side:
    """A network on its engine and on torch in float32.

    Attributes:
        network: as a run builds it.
        reference: on torch in float32.
        wave: what it hears.
        alone_s: seconds of processor of its passes, a round each.
        reference_s: the same of the reference.
        engine: which share of its passes the engine takes.
        close: how near its vectors come to the reference's.
    """

    network: SoundExtractor
    reference: SoundExtractor
    wave: NDArray[Any]
    alone_s: list[float] = field(default_factory=list)
    reference_s: list[float] = field(default_factory=list)
    engine: float = 1.0
    close: Fidelity | None = None

    def round(self) -> None:
        """Time both."""
        found: list[SoundOutput] = []
        with timed_engine() as calls:
            self.alone_s.append(spent(lambda: found.append(self.network.embed(self.wave))).cpu_s)
        self.engine = sum(calls) / self.alone_s[-1] if calls else 1.0
        self.reference_s.append(spent(lambda: found.append(self.reference.embed(self.wave))).cpu_s)
        self.close = fidelity(*found)

    def row(self, length_s: int) -> tuple[str, ...]:
        """What the table says of it."""
        spec = self.network.spec
        times = median(one / other for one, other in zip(self.reference_s, self.alone_s, strict=True))
        return (
            f"{spec.name}, {spec.engine} {spec.precision}",
            speed(length_s, median(self.alone_s)),
            speed(length_s, median(self.reference_s)),
            f"{times:.1f}",
            f"{self.engine:.2f}",
            f"{self.close.cosine:.6f}" if self.close else "",
        )


def measured(names: Sequence[str], asked: argparse.Namespace, folder: Path) -> list[tuple[str, ...]]:
    """Networks from one file to the store, beside each one's passes over what it hears."""
    place = Workplace.at(folder, names, asked.reference, asked.engine, asked.precision)
    film = film_of(folder / "film.mp4", asked.seconds, asked.media)
    source = place.add(film)
    job = replace(place.job(film.stem), find_faces=False, extractors=place.profile.sounds, lacking="")
    heard = hearing.read_waveforms(film, place.profile.sounds, facts_of(place.store(), source))
    weights = WeightsFolder(place.context.weights)
    sides = [
        Side(
            sound_network(spec, place.context.weights, "cpu"),
            build_sound(replace(spec, engine="torch", precision="float32"), weights.load(spec.weights.sha256)),
            heard[hearing.waveform_format(spec)].samples,
        )
        for spec in place.profile.sounds
    ]
    for side in sides:
        side.network.embed(side.wave[: 2 * side.network.spec.rate_hz])
    with counted() as counts:
        extract(place, job)
    whole = []
    for _ in range(asked.rounds):
        for side in sides:
            side.round()
        whole.append(spent(lambda: extract(place, job)).cpu_s)
    sums = [sum(one) for one in zip(*(side.alone_s for side in sides), strict=True)]
    before = [sum(one) for one in zip(*(side.reference_s for side in sides), strict=True)]
    ratio = median(one / took for one, took in zip(sums, whole, strict=True))
    times = median(one / took for one, took in zip(before, whole, strict=True))
    now, then = speed(asked.seconds, median(whole)), speed(asked.seconds, median(before))
    return [
        *(side.row(asked.seconds) for side in sides),
        ("file to store", now, then, f"{times:.1f}", f"{ratio:.2f} of their sum", ""),
        (f"{counts['decodes']} decode, {counts['resamplings']} resamplings", "", "", "", "", ""),
    ]


def speed(length_s: float, took_s: float) -> str:
    return f"{length_s / took_s:.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, "media", "reference", "engine", "precision", rounds=3)
    parser.add_argument("--seconds", type=int, default=90, help="of sound")
    parser.add_argument("--network", action="append", help="of the second table; all five if none is named")
    parser.add_argument("--table", action="append", choices=("wav2vec", "five"), help="both if none is named")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    tables = {"wav2vec": (BASE,), "five": tuple(asked.network or FIVE)}
    for name in asked.table or tables:
        with tempfile.TemporaryDirectory() as folder:
            rows = measured(tables[name], asked, Path(folder))
        title = f"{asked.seconds} s of sound, one thread, {asked.rounds} rounds; seconds of sound a second of processor"
        print_table(HEAD, rows, title)


if __name__ == "__main__":
    main()
