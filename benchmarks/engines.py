"""Engines: how fast and how faithful each one is, for every face network, on faces of real clips.

Faces a second of the bare forward pass from crops in memory, on all cores, one thread a pass; and how far the outputs
are from torch in float32: the least cosine of an embedding, the share of frames with the same expression. An engine is
offered from a cosine of 0.9999 and a share of 0.995 on. The weights are the reference files' where there are some (the
official layouts with seeded numbers), else untrained: no trained file is needed, and none is used.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from bench.arguments import parser_of
from bench.clocks import spent
from bench.real_clips import Pixels, clips, faces, take_in_reference_weights
from rich.progress import track

from affstore.flows.commands.options import print_table
from affstore.models.engines.base import Choice
from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.models.extractors.base import FaceExtractor
from affstore.models.extractors.registry import build_face, names, spec_of
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.faces.crops import resized
from affstore.models.fidelity import Fidelity, fidelity
from affstore.models.weights.folder import WeightsFolder

CHOICES = (
    Choice("torch", "float32"),
    Choice("torch", "bfloat16"),
    Choice("openvino", "float32"),
    Choice("openvino", "bfloat16"),
)


def rate(network: FaceExtractor, crops: Pixels, rounds: int) -> float:
    """Faces a second, all cores at work."""
    pieces = [crops[first : first + network.batch] for first in range(0, len(crops), network.batch)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        list(threads.map(network.embed, pieces[:2]))
        took = [spent(lambda: list(threads.map(network.embed, pieces))).wall_s for _ in range(rounds)]
    return len(crops) / median(took)


def rows_of(
    spec: FaceExtractorSpec, weights: WeightsFolder, trained: bool, crops: Pixels, rounds: int
) -> list[tuple[str, ...]]:
    """One row an engine."""
    resolved = resolve_weights(weights, spec.weights, untrained=not trained)
    parameters = weights.load(resolved.sha256)
    reference, rows = None, []
    for choice in CHOICES:
        network = build_face(replace(spec, engine=choice.engine, precision=choice.precision), parameters)
        found = network.embed(crops)
        reference = reference or found
        close = fidelity(found, reference)
        label = (spec.name, "reference" if trained else "untrained", str(choice), f"{rate(network, crops, rounds):.1f}")
        rows.append((*label, f"{close.cosine:.6f}", f"{close.same_class:.4f}", offered(choice, close)))
    return rows


def offered(choice: Choice, close: Fidelity) -> str:
    if choice == CHOICES[0]:
        return "reference"
    return "yes" if close.enough else "no"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, "media", "reference", rounds=3)
    parser.add_argument("--network", action="append", help="all face networks if none is named")
    parser.add_argument("--faces", type=int, default=208, help="how many, of all clips")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    seen = list(faces(clips(asked.media), every=4))
    seen = [seen[index] for index in np.linspace(0, len(seen) - 1, asked.faces).astype(int)]
    specs = [spec_of(name) for name in asked.network or names()]
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = WeightsFolder(Path(folder))
        known = take_in_reference_weights(weights, asked.reference)
        for spec in track([spec for spec in specs if isinstance(spec, FaceExtractorSpec)], "networks", transient=True):
            crops = np.stack([resized(face, spec.size_px) for face in seen])
            rows += rows_of(spec, weights, spec.weights.name in known, crops, asked.rounds)
    head = ("network", "weights", "engine", "faces/s", "least cosine", "same expression", "offered")
    print_table(head, rows, f"{len(seen)} faces of real clips, {len(os.sched_getaffinity(0))} cores")


if __name__ == "__main__":
    main()
