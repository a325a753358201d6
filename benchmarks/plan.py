"""How long `affstore plan` takes on a large store: 600 videos with eleven artifacts each, all of them fresh.

Every video has its source, a face, four embeddings, three labels and two predictions, with the records that real ones
have and arrays of a few rows, because planning reads no array. A process of its own plans it, as a user types it; then
the parts of that are timed in this process. Building the store takes minutes: `--keep FOLDER` keeps it for next time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from bench.clocks import Spent, spent, typical
from bench.workplace import Workplace
from rich.progress import track

from affstore.flows.commands.options import print_table
from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec
from affstore.models.labels.base import LabelFile
from affstore.store.contract.keys import key_of
from affstore.store.contract.labels import TASKS
from affstore.store.contract.records import Address, Artifact, Record
from affstore.store.contract.schema import family
from affstore.store.engine.draft import Draft
from affstore.tasks import recipes
from affstore.tasks.planning.plan import plan
from affstore.tasks.specs import Profile

EXTRACTORS = ("emotieffnet_b0", "emotieffnet_b0_afew", "mt_emotieffnet_b0", "wav2vec2_base_960h")
EXPERIMENTS = ("expr-mlp", "au-mlp")
FRAMES = 8
BAR_S = 3.0


def put_video(draft: Draft, video: str, profile: Profile) -> None:
    """Everything a video can have, with the recipes that the plan wants."""
    attributes = {
        **{"sha256": key_of(video), "bytes": 1, "aliases": [], "location": f"/videos/{video}.mp4"},
        **{"time_base": [1, 25], "end_pts": FRAMES, "width": 64, "height": 48},
    }
    source = put(draft, Address("source", video=video), recipes.source(key_of(video)), **attributes)
    detector = profile.detector
    recipe = recipes.face(detector, profile.tracking, source.key, "main")
    face = put(draft, Address("face", detector.name, video, "main"), recipe, source)
    features = [put_feature(draft, spec, source, face) for spec in profile.extractors]
    for task in TASKS:
        recipe = recipes.label(LabelFile(task, "train", video, "main", Path(video)), key_of([task, video]), source.key)
        put(draft, Address("label", task, video, "main"), recipe, source)
    for experiment in EXPERIMENTS:
        recipe = recipes.prediction({"of": experiment}, "", [record.key for record in features])
        put(draft, Address("prediction", experiment, video, "main"), recipe, *features)


def put_feature(draft: Draft, spec: ExtractorSpec, source: Record, face: Record) -> Record:
    video = source.address.video
    if isinstance(spec, FaceExtractorSpec):
        recipe = recipes.feature(spec, face.key)
        return put(draft, Address("visual", spec.name, video, "main"), recipe, source, face)
    return put(draft, Address("audio", spec.name, video), recipes.feature(spec, source.key), source)


def put(draft: Draft, address: Address, recipe: dict[str, object], *parents: Record, **attributes: object) -> Record:
    """An artifact of zeros that its family accepts."""
    schema = family(address.family)
    arrays = {
        name: np.zeros([schema.sizes.get(dim, FRAMES) for dim in array.dims], array.dtypes[0])
        for name, array in schema.arrays.items()
    }
    known = dict.fromkeys(schema.attributes) | {"frames": FRAMES} | attributes
    made = {"extractor": address.producer, "engine": "torch", "precision": "float32", "elapsed_s": 1.5}
    return draft.put(Artifact(address, recipe, arrays, known, tuple(each.as_parent() for each in parents), made))


def build(place: Workplace, videos: int, a_commit: int = 50) -> None:
    """Fill the store, in few commits."""
    have = len(place.store().addresses("source"))
    for first in track(range(have, videos, a_commit), "building the store", transient=True):
        draft = place.store().draft(place.context.code, place.context.run_id)
        for number in range(first, min(first + a_commit, videos)):
            put_video(draft, f"{number:03}-30-1280x720", place.profile)
        place.store().commit([draft], "benchmark")


def command(place: Workplace, extractors: Sequence[str]) -> None:
    """A process of its own: what a user waits for."""
    named = [word for name in extractors for word in ("-e", name)]
    words = ["plan", "--store", place.context.store_url, "--weights", "untrained", *named]
    done = subprocess.run(
        [sys.executable, "-m", "affstore.flows.cli", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:  # 10 would say that something is not fresh
        raise SystemExit(f"affstore {' '.join(words)} ended with {done.returncode}: {done.stderr}")


def parts(place: Workplace) -> dict[str, Spent]:
    """The steps of the same in this process, which has imported everything."""
    took: dict[str, Spent] = {}
    store = place.store()
    took["open the store"] = spent(place.store)
    took["list its artifacts"] = spent(store.addresses)
    took["read their records"] = spent(store.records)
    records = store.records()
    took["plan"] = spent(lambda: plan(records, place.profile))
    return took


def imports() -> dict[str, Spent]:
    """What a process needs before it can begin."""

    def python(code: str) -> Spent:
        return spent(lambda: subprocess.run([sys.executable, "-c", code], check=True))

    return {
        "python by itself": python("pass"),
        "… with the command line": python("import affstore.flows.cli"),
        "… with the store": python("import affstore.flows.cli, affstore.store.engine.feature_store"),
        "… with all that planning imports": python(
            "import affstore.flows.cli, affstore.flows.config.run_config, affstore.store.engine.feature_store, "
            "affstore.tasks.planning.plan, affstore.tasks.planning.head_runs"
        ),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--extractor", action="append", help="all four if none is named")
    parser.add_argument("--keep", type=Path, help="where the store is built, and found again next time")
    asked = parser.parse_args(arguments)
    extractors = asked.extractor or EXTRACTORS
    with tempfile.TemporaryDirectory() as temporary:
        place = Workplace.at(asked.keep or Path(temporary), extractors)
        build(place, asked.videos)
        rounds = [
            {"affstore plan": spent(lambda: command(place, extractors)), **imports(), **parts(place)}
            for _ in range(asked.rounds)
        ]
        artifacts = len(place.store().records())
    took = {name: typical(one[name] for one in rounds) for name in rounds[0]}
    print(f"{asked.videos} videos, {artifacts} artifacts; median of {asked.rounds} rounds; the bar is {BAR_S:.0f} s.")
    rows = [(name, f"{one.wall_s:.2f} s", f"{one.cpu_s:.2f} s") for name, one in took.items()]
    print_table(("step", "wall", "processor"), rows)


if __name__ == "__main__":
    main()
