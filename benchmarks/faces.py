"""What extracting faces costs beside the bare networks, and beside EmotiEffLib, on faces of real clips.

- files: from JPEG files of 224 px to a committed store, as a run does it: read, resized where needed, embedded,
  written, committed; two videos at a time. Beside it the bare forward pass of the same engine on the same crops in
  memory, with all cores; and EmotiEffLib's two engines from the same files to features in memory, when `--peer` names
  the Python of an environment that has `emotiefflib==1.1.1 timm==0.9.7 onnx onnxruntime`.
- seven networks: the same files through the seven face networks of the papers in one pass, beside the sum of their bare
  forward passes.

Sides of one table are timed in turn, several times; a ratio is the median of the rounds' ratios. The weights are the
reference files' where there are some, else untrained; engines are chosen as a run chooses them, unless named.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np
import torch
from bench.arguments import parser_of
from bench.clocks import spent
from bench.real_clips import Pixels, clips, faces
from bench.workplace import SEVEN, Workplace
from PIL import Image

from affstore.flows.commands.options import print_table
from affstore.models.demo.film import Pictures, write_film
from affstore.models.engines.base import forward_threads
from affstore.models.engines.footprint import PASSES_A_THREAD
from affstore.models.extractors.base import FaceExtractor
from affstore.models.extractors.registry import build_face
from affstore.models.faces.crops import resized
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.clock import FrameClock
from affstore.tasks.extract.jobs import CropJob, VideoJob

KIND = "cropped"
SIDE_PX = 224
VIDEOS = 2


@dataclass(frozen=True, slots=True)
class Folders:
    """Crop folders of two videos that are in a store.

    Attributes:
        place: where they are extracted.
        jobs: one a video.
        crops: all of them in memory, as `(faces, 224, 224, 3)`.
        root: the JPEG files of all in one folder, for the peer.
    """

    place: Workplace
    jobs: tuple[VideoJob, ...]
    crops: Pixels
    root: Path

    def extract(self) -> None:
        """Do the jobs side by side in a copy of the store that knows nothing of them, and commit what they wrote."""
        url = tempfile.mkdtemp(dir=self.root.parent)
        shutil.copytree(self.place.context.store_url, url, dirs_exist_ok=True)
        place = replace(self.place, context=replace(self.place.context, store_url=url))
        with ThreadPoolExecutor(len(self.jobs)) as videos:
            for outcome in videos.map(place.extract, self.jobs):
                if outcome.status != "done":
                    raise SystemExit(f"'{outcome.subject}' is {outcome.status}: {outcome.reason}")
                place.commit(outcome)


def write_folders(folder: Path, place: Workplace, seen: Sequence[Pixels]) -> Folders:
    """JPEG crops of 224 px for two small videos."""
    (folder / "all").mkdir()
    jobs = []
    for number in range(VIDEOS):
        mine = seen[number::VIDEOS]
        crops = folder / KIND / f"video{number}"
        crops.mkdir(parents=True)
        for index, face in enumerate(mine, 1):
            picture = Image.fromarray(resized(face, SIDE_PX))
            picture.save(crops / f"{index:05d}.jpg", quality=95)
            os.link(crops / f"{index:05d}.jpg", folder / "all" / f"{number}-{index:05d}.jpg")
        film = folder / f"video{number}.mp4"
        black = np.zeros((48, 64, 3), np.uint8)
        write_film(film, Pictures(iter([black] * len(mine)), (64, 48), FrameClock.uniform(25, len(mine))), None)
        place.add(film)
        job = replace(place.job(film.stem), find_faces=False, extractors=(), lacking="")
        jobs.append(replace(job, crops=(CropJob(KIND, "main", crops, place.profile.faces),)))
    files = sorted((folder / "all").glob("*.jpg"))
    crops_px = np.stack([np.asarray(Image.open(file)) for file in files])
    return Folders(place, tuple(jobs), crops_px, folder / "all")


def networks(place: Workplace) -> list[FaceExtractor]:
    """The bare networks of a place."""
    weights = WeightsFolder(place.context.weights)
    return [build_face(spec, weights.load(spec.weights.sha256)) for spec in place.profile.faces]


def bare(network: FaceExtractor, crops: Pixels) -> None:
    """The forward pass alone, on all cores, called from as many threads as a run does."""
    callers = forward_threads() * PASSES_A_THREAD.get(network.spec.engine, 1)
    pieces = [crops[first : first + network.batch] for first in range(0, len(crops), network.batch)]
    with ThreadPoolExecutor(callers) as threads:
        list(threads.map(network.embed, pieces))


def peer_s(asked: argparse.Namespace, folder: Path, files: Path, engine: str) -> list[float]:
    """Seconds a round of EmotiEffLib's engine over the files."""
    weights = asked.reference / "enet_b0_8_best_vgaf.pt"
    home = folder / "peer"
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "HOME": str(home), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    words = [asked.peer, Path(__file__).with_name("bench") / "peer.py", files, weights, engine, str(asked.rounds)]
    found = subprocess.run(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return list(json.loads(found.stdout.splitlines()[-1])["rounds_s"])


def against_files(asked: argparse.Namespace, folder: Path, seen: Sequence[Pixels]) -> list[tuple[str, ...]]:
    """B0 from JPEG files to the store, beside its forward pass and its peer."""
    place = Workplace.at(folder, [f"{SEVEN[0]}@{KIND}"], asked.reference, asked.engine, asked.precision)
    made = write_folders(folder, place, seen)
    (network,) = networks(place)
    made.extract()
    bare(network, made.crops)
    pairs = [(spent(made.extract), spent(lambda: bare(network, made.crops))) for _ in range(asked.rounds)]
    whole = median(pair[0].wall_s for pair in pairs)
    spec, count = place.profile.faces[0], len(made.crops)
    ratio = median(bare_side.wall_s / whole_side.wall_s for whole_side, bare_side in pairs)
    rows = [
        (f"affstore, {spec.engine} {spec.precision}: files to store", f"{count / whole:.1f}", ""),
        ("its bare forward pass", f"{count / median(pair[1].wall_s for pair in pairs):.1f}", f"{ratio:.2f} of it"),
    ]
    for engine in ("onnx", "torch") if asked.peer else ():
        took = median(peer_s(asked, folder, made.root, engine))
        rows.append((f"EmotiEffLib, {engine}: files to memory", f"{count / took:.1f}", f"{took / whole:.2f} x it"))
    return rows


def all_seven(asked: argparse.Namespace, folder: Path, seen: Sequence[Pixels]) -> list[tuple[str, ...]]:
    """Seven networks in one pass over the files, beside each alone."""
    names = [f"{name}@{KIND}" for name in SEVEN]
    place = Workplace.at(folder, names, asked.reference, asked.engine, asked.precision)
    made = write_folders(folder, place, seen)
    made.extract()
    whole = [spent(made.extract).wall_s for _ in range(asked.rounds)]
    rows, alone = [], np.zeros(asked.rounds)
    for network in networks(place):
        crops = np.stack([resized(crop, network.spec.size_px) for crop in made.crops])
        bare(network, crops[: 2 * network.batch])
        took = [spent(lambda: bare(network, crops)).wall_s for _ in range(asked.rounds)]  # noqa: B023
        alone += took
        label = f"{network.spec.name.partition('@')[0]}, {network.spec.engine} {network.spec.precision}"
        rows.append((label, f"{len(crops) / median(took):.1f}", ""))
    rows.append(("sum of the bare passes", f"{len(made.crops) / median(alone):.1f}", ""))
    ratio = median(np.array(whole) / alone)
    rows.append(
        (
            "affstore: files to store, one pass",
            f"{len(made.crops) / median(whole):.1f}",
            f"{ratio:.2f} x the sum's time",
        )
    )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, "media", "reference", "engine", "precision", rounds=3)
    parser.add_argument("--peer", help="Python of an environment that has EmotiEffLib")
    parser.add_argument("--faces", type=int, default=2048, help="files of the first table")
    parser.add_argument("--faces-of-seven", type=int, default=384)
    parser.add_argument("--table", action="append", choices=("files", "seven"), help="all if none is named")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = list(faces(clips(asked.media)))
    with tempfile.TemporaryDirectory() as temporary:
        for name in asked.table or ["files", "seven"]:
            folder = Path(temporary) / name
            folder.mkdir()
            if name == "files":
                rows = against_files(asked, folder, list(islice(cycle(found), asked.faces)))
                title = "B0 from 224-px JPEG files"
            else:
                rows = all_seven(asked, folder, found[:: max(1, len(found) // asked.faces_of_seven)])
                title = "Seven face networks"
            cores = len(os.sched_getaffinity(0))
            print_table(("side", "faces/s", "ratio"), rows, f"{title}; {cores} cores, {asked.rounds} rounds")


if __name__ == "__main__":
    main()
