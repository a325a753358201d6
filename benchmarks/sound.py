"""What extracting sound costs beside the bare networks, on the sound of a film of black pictures.

- wav2vec: wav2vec 2.0 base from the file to a committed store, as a run does it: decoded, resampled, cut, embedded,
  brought to frames, written, committed; beside the same network's forward passes over the same segments in memory.
- five: the five sound networks of the papers in one pass over the file, beside the sum of their passes alone; how often
  the sound was decoded and resampled meanwhile is counted.

Everything runs on one thread, as a run's sound does for each video, and time is that of the processor, which other
loads disturb less. Sides are timed in turn, several times; a ratio is the median of the rounds' ratios. The weights are
untrained. The sound is noise at 44.1 kHz, so that every network needs another rate than the file's.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from bench.clocks import spent
from bench.workplace import Workplace

from affstore.flows.commands.options import print_table
from affstore.models import audio_pass as hearing
from affstore.models.demo.film import Pictures, Recording, write_film
from affstore.models.extractors.base import SoundExtractor
from affstore.models.media import sound as decoding
from affstore.store.contract.clock import FrameClock
from affstore.tasks.extract.jobs import VideoJob
from affstore.tasks.extract.networks import sound_network
from affstore.tasks.ingest.sources import facts_of

BASE = "wav2vec2_base_960h"
FIVE = (BASE, "hubert_superb_er", "wav2vec2_large_msp_dim", "hubert_large_ls960", "openl3_env_mel128_512")
FILE_HZ, FRAMES_HZ = 44_100, 25


def film_of(path: Path, length_s: int) -> Path:
    """Black pictures and noise."""
    black, frames = np.zeros((48, 64, 3), np.uint8), length_s * FRAMES_HZ
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


def measured(names: Sequence[str], asked: argparse.Namespace, folder: Path) -> list[tuple[str, ...]]:
    """Networks from one file to the store, beside each one's passes over what it hears."""
    place = Workplace.at(folder, names)
    film = film_of(folder / "film.mp4", asked.seconds)
    source = place.add(film)
    job = replace(place.job(film.stem), find_faces=False, extractors=place.profile.sounds, lacking="")
    facts = facts_of(place.store(), source)
    heard = hearing.read_waveforms(film, place.profile.sounds, facts)
    networks = [sound_network(spec, place.context.weights, "cpu") for spec in place.profile.sounds]
    waves = [heard[hearing.waveform_format(network.spec)].samples for network in networks]
    for network, wave in zip(networks, waves, strict=True):
        network.embed(wave[: 2 * network.spec.rate_hz])
    with counted() as counts:
        extract(place, job)
    whole, alone = [], []
    for _ in range(asked.rounds):
        alone.append([passes_s(network, wave) for network, wave in zip(networks, waves, strict=True)])
        whole.append(spent(lambda: extract(place, job)).cpu_s)
    rows = [
        (network.spec.name, speed(asked.seconds, median(one[index] for one in alone)), "")
        for index, network in enumerate(networks)
    ]
    ratio = median(sum(one) / took for one, took in zip(alone, whole, strict=True))
    said = f"{ratio:.2f} of it" if len(names) == 1 else f"{ratio:.2f} of the sum, {1 / ratio:.2f} x its time"
    rows.append(("file to store", speed(asked.seconds, median(whole)), said))
    return [*rows, (f"{counts['decodes']} decode, {counts['resamplings']} resamplings", "", "")]


def passes_s(network: SoundExtractor, wave: np.ndarray) -> float:
    """Seconds of processor for the bare forward passes."""
    return spent(lambda: network.embed(wave)).cpu_s


def speed(length_s: float, took_s: float) -> str:
    return f"{length_s / took_s:.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=90, help="of sound")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", action="append", help="of the second table; all five if none is named")
    parser.add_argument("--table", action="append", choices=("wav2vec", "five"), help="both if none is named")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    tables = {"wav2vec": (BASE,), "five": tuple(asked.network or FIVE)}
    for name in asked.table or tables:
        with tempfile.TemporaryDirectory() as folder:
            rows = measured(tables[name], asked, Path(folder))
        title = f"{asked.seconds} s of sound, one thread, {asked.rounds} rounds; seconds of sound a second of processor"
        print_table(("side", "x real time", "ratio"), rows, f"\n{title}")


if __name__ == "__main__":
    main()
