"""Face networks on a GPU: how fast, how near to the CPU, and how long a whole corpus would take.

For every face network, in bfloat16: the bare forward pass, kernel by kernel, on a batch that lies on the device; from
decoded crops in memory to rows in memory; and from JPEG files of 224 px, several folders at once, as a run reads them.
Beside that, how long the frames of Aff-Wild2 would take it at the rate from JPEG files, and all one after the other.
Then how far the device's embeddings, in float32 and in bfloat16, are from those of torch on the CPU in float32.

`--device cpu` runs the same code where there is no GPU, for its tests. The weights are untrained.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from bench.arguments import parser_of
from bench.clocks import spent
from bench.files import frame_counts
from bench.real_clips import Pixels, clips, faces
from bench.workplace import SEVEN
from PIL import Image

from affstore.flows.commands.options import print_table
from affstore.models.batches import SharedNetwork
from affstore.models.extractors.base import FaceExtractor, FaceOutput
from affstore.models.extractors.registry import build_face, spec_of
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.face_pass import Face, embed_faces
from affstore.models.faces.crop_pictures import CropPictures
from affstore.models.faces.crops import resized
from affstore.models.fidelity import fidelity
from affstore.models.weights.folder import default_folder

SIDE_PX = 224
AFF_WILD2_FRAMES = 3_090_000
"""Where the list of its videos is not at hand."""

MISSING = (
    "There is no GPU on this machine. Missing: faces/s of each face network from decoded crops and from JPEG files, "
    "beside its bare pass in bfloat16; the agreement of CPU and GPU; a projection for the frames of Aff-Wild2."
)


class Case:
    """One face network on one device."""

    def __init__(self, name: str, device: str) -> None:
        weights = default_folder()
        self.spec = spec_of(name)
        resolved = resolve_weights(weights, self.spec.weights, untrained=True)
        self._parameters, self.device = weights.load(resolved.sha256), device

    def network(self, precision: str, device: str = "") -> FaceExtractor:
        """The network, on another device than the case's if one is named."""
        return build_face(replace(self.spec, precision=precision), self._parameters, device or self.device)

    def bare(self, network: FaceExtractor, crops: Pixels, rounds: int) -> float:
        """Faces a second of the pass alone, on a batch that is on the device."""
        forward = network._forward
        batch = torch.from_numpy(np.resize(crops, (network.batch, *crops.shape[1:]))).to(self.device)

        def passes() -> None:
            for _ in range(2):
                forward._step(batch)
            if self.device != "cpu":
                torch.cuda.synchronize()

        return 2 * len(batch) / best(passes, rounds)


def best(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the median round, after one that warms up."""
    work()
    return median(spent(work).wall_s for _ in range(rounds))


def from_crops(network: FaceExtractor, crops: Pixels) -> None:
    """Decoded crops to rows, with as many threads as a run has."""
    pieces = [crops[first : first + network.batch] for first in range(0, len(crops), network.batch)]
    with ThreadPoolExecutor(threads()) as pool:
        list(pool.map(network.embed, pieces))


def from_files(network: FaceExtractor, folders: Sequence[Path], count: int) -> None:
    """JPEG files to rows, every folder in a thread of its own, batches mixed."""
    with ThreadPoolExecutor(threads()) as forward, ThreadPoolExecutor(len(folders)) as videos:
        shared = SharedNetwork(network, forward, threads())
        list(videos.map(lambda folder: embed_faces(read(folder, count), {"it": shared}), folders))


def read(folder: Path, count: int) -> Iterator[Face]:
    for frame, picture in CropPictures(folder, count):
        yield Face("main", frame, picture)


def write_files(folder: Path, seen: Sequence[Pixels], videos: int) -> list[Path]:
    """The faces as JPEG files, in folders of equal size."""
    folders = [folder / f"video{number}" for number in range(videos)]
    for number, path in enumerate(folders):
        path.mkdir()
        for index, face in enumerate(seen[number::videos], 1):
            Image.fromarray(resized(face, SIDE_PX)).save(path / f"{index:05d}.jpg", quality=95)
    return folders


def speeds(case: Case, seen: Sequence[Pixels], folders: Sequence[Path], rounds: int) -> tuple[float, float, float]:
    """Faces a second: bare, from decoded crops, from JPEG files."""
    network = case.network("bfloat16")
    crops = np.stack([resized(face, case.spec.size_px) for face in seen])
    bare = case.bare(network, crops, rounds)
    decoded = len(crops) / best(lambda: from_crops(network, crops), rounds)
    files = len(crops) / best(lambda: from_files(network, folders, len(crops)), rounds)
    return bare, decoded, files


def agreement(case: Case, seen: Sequence[Pixels]) -> list[tuple[str, ...]]:
    """How far the device is from torch in float32 on the CPU."""
    crops = np.stack([resized(face, case.spec.size_px) for face in seen])
    reference = case.network("float32", "cpu").embed(crops)
    return [
        (case.spec.name, precision, *compared(case.network(precision).embed(crops), reference))
        for precision in ("float32", "bfloat16")
    ]


def compared(found: FaceOutput, reference: FaceOutput) -> tuple[str, ...]:
    close = fidelity(found, reference)
    apart = np.abs(found.embedding - reference.embedding).max()
    return f"{apart:.2e}", f"{close.cosine:.6f}", f"{close.same_class:.4f}"


def corpus_frames(shape: Path) -> int:
    """The frames of Aff-Wild2, by the list of its videos."""
    if not shape.is_file():
        return AFF_WILD2_FRAMES
    return sum(frame_counts(shape).values())


def threads() -> int:
    return len(os.sched_getaffinity(0))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, "media", "shape", rounds=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--network", action="append", help="all seven if none is named")
    parser.add_argument("--faces", type=int, default=4096)
    parser.add_argument("--faces-compared", type=int, default=256)
    parser.add_argument("--videos", type=int, default=threads(), help="folders read at once")
    asked = parser.parse_args(arguments)
    if asked.device != "cpu" and not torch.cuda.is_available():
        print(MISSING)
        return
    torch.set_num_threads(1)
    found = list(faces(clips(asked.media)))
    seen = [found[index % len(found)] for index in range(asked.faces)]
    frames, rates, far = corpus_frames(asked.shape), [], []
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("AFFSTORE_WEIGHTS", str(Path(folder) / "weights"))
        folders = write_files(Path(folder), seen, asked.videos)
        for name in asked.network or SEVEN:
            case = Case(name, asked.device)
            rates.append((name, *speeds(case, seen, folders, asked.rounds)))
            far += agreement(case, found[:: max(1, len(found) // asked.faces_compared)])
    rows = [
        (
            name,
            f"{bare:.1f}",
            f"{crops:.1f}",
            f"{crops / bare:.2f}",
            f"{files:.1f}",
            f"{files / bare:.2f}",
            hours(frames / files),
        )
        for name, bare, crops, files in rates
    ]
    rows.append(("all of them", "", "", "", "", "", hours(sum(frames / files for *_, files in rates))))
    device = torch.cuda.get_device_name() if asked.device != "cpu" else f"{threads()} cores, no GPU"
    head = ("network", "bare pass", "from crops", "of it", "from JPEG", "of it", f"{frames / 1e6:.2f} M frames")
    print_table(head, rows, f"Faces/s in bfloat16; {device}, {asked.faces} faces, {asked.rounds} rounds")
    print_table(
        ("network", "precision", "most apart", "least cosine", "same expression"),
        far,
        "Against torch float32 on the CPU",
    )


def hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    main()
