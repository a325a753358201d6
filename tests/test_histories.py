"""Random histories of a store: whatever is done in whatever order, lineage, tags and digests hold."""

from __future__ import annotations

import datetime
import re
import secrets
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from affstore import FeatureStore, content_digest
from affstore.flows.commits import committed
from affstore.store.contract.errors import ConflictError
from affstore.store.contract.keys import digest_file
from affstore.store.contract.names import video_name
from affstore.store.engine.catalogue import content_digest_of
from affstore.store.engine.copying import Copy, copy_store, plan_copy, roll_back
from affstore.store.engine.erasing import collect_garbage, find_in_objects
from affstore.store.engine.generations import begin, drop, generations, promote
from affstore.store.engine.history import check_history, source_versions
from affstore.store.engine.objects import wipe
from affstore.store.engine.tombstones import Tombstones
from affstore.tasks.ingest.incoming_files import IncomingFile, IngestOptions, incoming_files
from affstore.tasks.ingest.videos import ingest
from affstore.tasks.lineage.erasure import Erasure, plan_erasure
from affstore.tasks.lineage.forgetting import forget, plan_copy_without
from affstore.tasks.specs import WorkerContext
from tests.factories import commit
from tests.lineage_store import FRAMES, face, head, label, prediction, visual
from tests.test_forgetting import all_bytes, chunks, pieces

NAMES = ("anna-first", "bert-second", "carl-third")
NOW = datetime.timedelta()


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    """Small videos of as many frames as the artifacts have rows, each of other bytes."""
    folder = tmp_path_factory.mktemp("clips")
    paths = [folder / f"clip{number}.avi" for number in range(5)]
    for number, path in enumerate(paths):
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 32))
        for frame in range(FRAMES):
            writer.write(np.full((32, 32, 3), 6 * frame + number, np.uint8))
        writer.release()
    return paths


class Histories(RuleBasedStateMachine):
    """One store, and what has to be true of it."""

    clips: list[Path]
    bucket = ""
    """Where the stores are; in a folder of this machine if empty."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="affstore-histories-"))
        self.places = f"{self.bucket}/{secrets.token_hex(4)}" if self.bucket else str(self.folder)
        self.url = FeatureStore.create(f"{self.places}/store").url
        self.tags: dict[str, str] = {}
        self.forgotten: set[str] = set()
        self.counter = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def store(self) -> FeatureStore:
        return FeatureStore(self.url)

    def next(self) -> int:
        self.counter += 1
        return self.counter

    def take_in(self, clip: int, name: str, options: IngestOptions, generation: str = "") -> str:
        """As `affstore add` does, without a server: decide, decode, commit."""
        path = self.folder / f"{self.next()}" / f"{name}.avi"
        path.parent.mkdir()
        shutil.copy(self.clips[clip], path)
        context = WorkerContext(self.url, f"run{self.counter}", self.folder, generation=generation)
        [incoming] = incoming_files(context.store(), [IncomingFile(path, video_name(name), digest_file(path))], options)
        committed(context, "ingest", [ingest(context, incoming)])
        return incoming.verdict

    @rule(clip=st.integers(0, 4), name=st.sampled_from(NAMES))
    def add_or_rename(self, clip: int, name: str) -> None:
        verdict = self.take_in(clip, name, IngestOptions())
        assert (verdict == "forgotten") == (
            digest_file(self.clips[clip]) in self.forgotten
        ) or verdict == "name_conflict"

    @rule(clip=st.integers(0, 4), name=st.sampled_from(NAMES))
    def replace(self, clip: int, name: str) -> None:
        self.take_in(clip, name, IngestOptions(replace_existing=True))

    @rule(seed=st.integers(0, 3), which=st.integers(0, 2))
    @precondition(lambda self: self.store.addresses("source"))
    def reprocess(self, seed: int, which: int) -> None:
        self.compute(self.store, seed, which)

    def compute(self, store: FeatureStore, seed: int, which: int) -> None:
        """The face, embeddings and labels of a video that a state has."""
        sources = store.addresses("source")
        video = sources[which % len(sources)].video
        store = commit(store, face(store, video))
        file = self.folder / f"{video}.txt"
        commit(store, visual(store, video, seed), label(store, video, "train", file))

    def generation(self) -> FeatureStore:
        """The open generation, or a new one."""
        names = [one.name for one in generations(self.store)]
        return begin(self.store, names[0] if names else f"generation{self.next()}")

    @rule(seed=st.integers(0, 3), which=st.integers(0, 2))
    @precondition(lambda self: self.store.addresses("source"))
    def reprocess_in_a_generation(self, seed: int, which: int) -> None:
        before, generation = content_digest(self.store), self.generation()
        if generation.addresses("source"):
            self.compute(generation, seed, which)
        assert content_digest(self.store) == before

    @rule(seed=st.integers(0, 3))
    @precondition(lambda self: any(one.changes.written for one in generations(self.store)))
    def retrain_in_a_generation(self, seed: int) -> None:
        generation = self.generation()
        if generation.addresses("visual"):
            self.learn(generation, seed)

    @rule(clip=st.integers(0, 4), name=st.sampled_from(NAMES))
    def replace_in_a_generation(self, clip: int, name: str) -> None:
        before, generation = content_digest(self.store), self.generation()
        self.take_in(clip, name, IngestOptions(replace_existing=True), str(generation.at))
        assert content_digest(self.store) == before

    @rule()
    @precondition(lambda self: any(one.changes.written for one in generations(self.store)))
    def promote(self) -> None:
        before = content_digest(self.store)
        generation = self.generation()
        sources = {*self.store.addresses("source")}
        taken_away = {*FeatureStore(self.url, generations(self.store)[0].base).addresses("source")} - sources
        wanted = ({*generation.addresses("source")} | sources) - taken_away
        done = promote(self.store, str(generation.at))
        self.tags[done.tag] = before
        assert content_digest(self.store) == content_digest_of(done.after.values())
        assert {*self.store.addresses("source")} <= wanted
        assert generations(self.store) == []

    @rule()
    @precondition(lambda self: generations(self.store))
    def drop(self) -> None:
        before = content_digest(self.store)
        drop(self.store, generations(self.store)[0].name)
        assert content_digest(self.store) == before

    @rule(seed=st.integers(0, 3))
    @precondition(lambda self: self.store.addresses("visual"))
    def retrain(self, seed: int) -> None:
        self.learn(self.store, seed)

    def learn(self, store: FeatureStore, seed: int) -> None:
        """A head of all embeddings that a state has, and what it predicts."""
        store = commit(store, head(store, seed=seed))
        commit(store, *(prediction(store, address.video) for address in store.addresses("visual")))

    @rule()
    def tag(self) -> None:
        name = f"tag{self.next()}"
        self.store.tag(name)
        self.tags[name] = content_digest(self.store)

    @rule(which=st.integers(0, 2), by_digest=st.booleans(), by_copy=st.booleans())
    @precondition(lambda self: self.store.addresses("source"))
    def forget(self, which: int, by_digest: bool, by_copy: bool) -> None:
        for open_one in generations(self.store):
            with pytest.raises(ConflictError, match="while generations are open"):
                forget(self.store, Erasure(), self.folder / "store.runs")
            drop(self.store, open_one.name)
        store = self.store
        sources = store.records("source")
        meant = sources[which % len(sources)]
        digest, name = meant.attributes["sha256"], meant.address.video
        others = [one for one in plan_sources(store) if one.attributes["sha256"] != digest]
        unique = all(name not in {one.address.video, *one.attributes["aliases"]} for one in others)
        erasure = plan_erasure(store, [name if unique and not by_digest else digest])
        numbers = self.numbers_of(erasure)
        if by_copy:
            plan = plan_copy_without(store, erasure)
            self.tags = {tag: state.content_digest for state in plan.states for tag in state.tags}
            self.move_to(plan)
        else:
            done = forget(store, erasure, self.folder / "store.runs")
            assert not done.objects or not unique
            self.tags = {tag: content for tag, content in self.tags.items() if tag not in erasure.tags}
        self.forgotten.add(digest)
        wanted = "|".join([digest, *([name] if unique else [])]).encode()
        assert list(find_in_objects(self.url, re.compile(wanted), re.compile(wanted))) == []
        left = b"\0".join(all_bytes(self.url))
        assert [piece for piece in numbers if piece in left] == []

    def numbers_of(self, erasure: Erasure) -> set[bytes]:
        """64 bytes of each chunk that goes, where no artifact that stays has the same."""
        states = {state.snapshot: state for state in (self.store, *map(self.store.state, self.store.tags()))}
        goes, stays = set[bytes](), set[bytes]()
        for snapshot, state in states.items():
            for address in state.addresses():
                found = pieces(chunks(state, address))
                if address in erasure.addresses[snapshot]:
                    goes |= found
                else:
                    stays |= found
        return goes - stays

    def move_to(self, plan: Copy) -> None:
        """Go on with a copy; the original is removed."""
        target = f"{self.places}/copy{self.next()}"
        copy_store(plan, target)
        wipe(self.url)
        shutil.rmtree(self.url, ignore_errors=True)
        self.url = target

    @rule(fold=st.booleans())
    def gc(self, fold: bool) -> None:
        before = content_digest(self.store)
        collect_garbage(self.store, NOW, NOW if fold else None)
        assert content_digest(self.store) == before

    @rule()
    def copy(self) -> None:
        before = content_digest(self.store)
        self.move_to(plan_copy(self.store))
        assert content_digest(self.store) == before

    @rule(which=st.integers(0, 20))
    def roll_back(self, which: int) -> None:
        history = [info.id for info in self.store.history() if info.parent_id]
        wanted = FeatureStore(self.url, history[which % len(history)])
        content = content_digest(wanted)
        roll_back(self.store, wanted)
        assert content_digest(self.store) == content

    @invariant()
    def predictions_have_their_parents(self) -> None:
        there = {address.path for address in self.store.addresses()}
        for record in self.store.records("prediction"):
            assert {parent.path for parent in record.parents} <= there, record.address

    @invariant()
    def every_tag_opens_with_what_it_named(self) -> None:
        assert self.store.tags().keys() == self.tags.keys()
        for tag, content in self.tags.items():
            assert content_digest(FeatureStore(self.url, tag)) == content

    @invariant()
    def every_digest_is_that_of_its_bytes(self) -> None:
        for address in self.store.addresses():
            self.store.read(address)

    @invariant()
    def the_history_is_chained(self) -> None:
        assert {commit.state for commit in check_history(self.store)} <= {"whole", "folded"}

    @invariant()
    def what_was_forgotten_stays_out(self) -> None:
        known = Tombstones.of(self.store)
        held = {record.attributes["sha256"] for record in self.store.records("source")}
        assert not held & self.forgotten
        assert all(known.date_of(digest) for digest in self.forgotten)


def plan_sources(store: FeatureStore):
    """The videos of all states that a store keeps, and of its history."""
    kept = [one for at in (None, *store.tags()) for one in FeatureStore(store.url, at).records("source")]
    return [*kept, *source_versions(store)]


_SLOW = (pytest.mark.slow, pytest.mark.timeout(7200))


@pytest.mark.parametrize("count", [3, pytest.param(50, marks=_SLOW)])
def test_lineage_tags_and_digests_hold_through_random_histories(clips, count):
    Histories.clips, Histories.bucket = clips, ""
    live_through(count, 12 if count > 3 else 8)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_they_hold_in_a_bucket_too(clips, s3_url):
    Histories.clips, Histories.bucket = clips, s3_url
    live_through(10, 12)


def live_through(count: int, steps: int) -> None:
    """So many histories of so many steps each, the same ones each time."""
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=count,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            phases=[Phase.generate],
            database=None,
        ),
    )
