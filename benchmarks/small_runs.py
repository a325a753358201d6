"""What small runs cost a person who waits: wall time of whole commands, each a process of its own.

- known: `affstore add` of a video that the store has.
- new: `affstore add` of one more clip of ten seconds, with sound, beside what its networks took themselves.
- demo: `affstore demo` in a folder where it ran before; only with `--demo`, for the first run takes minutes.

Untrained networks, engines as a run chooses them: they are measured in a first run that is not timed. Bars: 3 s, 8 s
over the networks' own time, and 10 s, on a machine that does nothing else.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np
from bench.arguments import parser_of
from bench.clocks import spent
from bench.command import affstore

from affstore import FeatureStore
from affstore.flows.commands.options import print_table
from affstore.models.demo.film import Pictures, Recording, write_film
from affstore.models.media.sound import read_sound
from affstore.models.media.video import frames, probe
from affstore.store.contract.clock import FrameClock

NETWORKS = ("-e", "emotieffnet_b0", "-e", "wav2vec2_base_960h", "--weights", "untrained")
CLIP_S, FRAMES_HZ, SOUND_HZ = 10, 25, 16_000


def clip(path: Path, media: Path, first: int) -> Path:
    """Ten seconds of a real face and of real speech; each `first` gives other bytes."""
    video = media / "face_video/WolfgangLanger_Pexels.mp4"
    shown = list(islice(frames(video, probe(video)), 75))
    reel, count = islice(cycle([*shown, *shown[-2:0:-1]]), first, None), CLIP_S * FRAMES_HZ
    height, width = shown[0].shape[:2]
    spoken = read_sound(media / "speech/jfk.wav", SOUND_HZ)
    wave = np.resize(spoken.samples if spoken else np.zeros(1, np.float32), CLIP_S * SOUND_HZ)
    clock = FrameClock.uniform(FRAMES_HZ, count)
    write_film(path, Pictures(islice(reel, count), (width, height), clock), Recording(wave, SOUND_HZ))
    return path


def affstore_s(folder: Path, *words: object) -> float:
    """Seconds that pass while a command runs."""
    return spent(lambda: affstore(*words, folder=folder)).wall_s


def networks_s(folder: Path, clips: Sequence[Path]) -> float:
    """What the faces and the sound of one of these clips took, by its records, once the networks were loaded.

    All faces of a video are found and embedded in one pass. The clips are taken in one after another by one command; of
    the first one, which waits for its networks, nothing is counted.
    """
    affstore_s(folder, "add", *clips, "--store", "store", *NETWORKS, "--workers", 1)
    store = FeatureStore(str(folder / "store"))
    begun = {one.stem: min(r.made_at for r in store.records(video=one.stem)) for one in clips}
    last = [one for one in clips if begun[one.stem] > min(begun.values())]
    return median(own_s(store, one.stem) for one in last)


def own_s(store: FeatureStore, video: str) -> float:
    """What a video's faces and sound took."""
    records = store.records(video=video)
    of = {family: [one for one in records if one.address.family == family] for family in ("face", "audio")}
    faces = max((float(one.made["elapsed_s"]) for one in of["face"]), default=0.0)
    return faces + sum(float(one.made["elapsed_s"]) for one in of["audio"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, "media", rounds=3)
    parser.add_argument("--demo", action="store_true")
    asked = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ.setdefault("AFFSTORE_WEIGHTS", str(folder / "weights"))
        clips = [clip(folder / f"clip{n}.mp4", asked.media, n) for n in range(asked.rounds + 4)]
        affstore_s(folder, "add", clips[0], "--store", "store", *NETWORKS)
        known = [affstore_s(folder, "add", clips[0], "--store", "store", *NETWORKS) for _ in range(asked.rounds)]
        rows.append(("add, a known video", f"{median(known):.1f} s", "", "3 s"))
        new = median(affstore_s(folder, "add", one, "--store", "store", *NETWORKS) for one in clips[4:])
        over = new - networks_s(folder, clips[1:4])
        rows.append(("add, one new clip of 10 s", f"{new:.1f} s", f"{over:.1f} s", "8 s over its networks"))
        if asked.demo:
            affstore_s(folder, "demo")
            again = [affstore_s(folder, "demo") for _ in range(asked.rounds)]
            rows.append(("demo, the second time", f"{median(again):.1f} s", "", "10 s"))
    print_table(("command", "wall", "over its networks", "bar"), rows, f"Small runs; {asked.rounds} rounds")


if __name__ == "__main__":
    main()
