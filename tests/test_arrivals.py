"""A source is its bytes: new names of known bytes are aliases, known names of other bytes are not overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore import FeatureStore
from affstore.flows.inputs import gather
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.server import Server
from affstore.flows.stage import run_on
from affstore.flows.stages.ingest import ingest as ingest_all
from affstore.store.contract.errors import ConflictError, SourceError
from affstore.store.contract.keys import key_of
from affstore.store.contract.names import check_name, join_subject, name_fault, split_subject, video_name
from affstore.store.contract.records import Address, Artifact
from affstore.store.engine.exporters.base import export
from affstore.store.engine.reading import find_source
from affstore.tasks import recipes
from affstore.tasks.ingest.incoming_files import IncomingFile, IncomingFiles, IngestOptions
from affstore.tasks.specs import WorkerContext
from tests.factories import commit, source


@pytest.fixture
def store(tmp_path):
    artifact = source("a", sha256="1" * 64, location=str(tmp_path / "a.mp4"))
    (tmp_path / "a.mp4").write_bytes(b"1")
    real = Artifact(artifact.address, recipes.source("1" * 64), artifact.arrays, artifact.attributes)
    return commit(FeatureStore.create(f"memory:{tmp_path.name}"), real)


def verdict(store, *files, replace_existing=False):
    return list(map(_verdict, decided(store, *files, replace_existing=replace_existing)))


def _verdict(incoming):
    return incoming.verdict


def decided(store, *files, replace_existing=False, bad=(), late=()):
    """What becomes of files `(path, sha256)`, in their own order, where those in `bad` turn out to be no videos.

    Those in `late` are not begun, as the run's time is over.
    """
    given = [
        IncomingFile(Path(path), video_name(Path(path).stem), sha, "unfit" if name_fault(Path(path).stem) else "new")
        for path, sha in files
    ]
    rounds = IncomingFiles(store, given, IngestOptions(replace_existing))
    found = {}
    while now := rounds.next_round():
        rounds.note(now, [incoming.file for incoming in now if incoming.file not in {*bad, *late}], bad)
        found |= {incoming.file: incoming for incoming in now}
    return [found[path] for path, _ in files]


def test_known_bytes_under_a_known_name_are_known(store):
    assert verdict(store, ("/x/a.mp4", "1" * 64)) == ["known"]


def test_known_bytes_under_a_new_name_are_an_alias(store):
    assert verdict(store, ("/x/b.mp4", "1" * 64)) == ["alias"]


def test_a_file_that_is_no_longer_where_it_was_has_moved(store, tmp_path):
    (tmp_path / "a.mp4").unlink()
    assert verdict(store, ("/x/a.mp4", "1" * 64)) == ["moved"]


def test_a_video_whose_noted_file_was_overwritten_is_found_where_its_own_bytes_are_given(store, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"another video, of another size")
    assert verdict(store, ("/x/a.mp4", "1" * 64)) == ["moved"]


def test_two_runs_that_note_something_of_one_video_at_once_lose_neither_note_without_a_word(store, tmp_path):
    at_once = [store.draft({}, "run") for _ in "bcb"]
    for name, draft in zip("bcb", at_once, strict=True):
        stored = store.get(Address("source", video="a"))
        arrays, attributes = store.read(stored.address), {**stored.attributes, "aliases": [name]}
        draft.put(Artifact(stored.address, stored.recipe, arrays, attributes))
    again = at_once.pop()
    store.commit([at_once[0]], "a name")
    store.commit([again], "the same name")  # as when a commit that was interrupted is made once more
    with pytest.raises(ConflictError, match="noted of 'source/a' meanwhile"):
        store.commit([at_once[1]], "another")
    assert store.newest().get(Address("source", video="a")).attributes["aliases"] == ["b"]


def test_other_bytes_under_a_known_name_are_refused_unless_they_replace_it(store):
    assert verdict(store, ("/x/a.mp4", "2" * 64)) == ["name_conflict"]
    assert verdict(store, ("/x/a.mp4", "2" * 64), replace_existing=True) == ["new"]


def test_a_file_that_was_changed_is_not_said_to_clash_with_itself(store, tmp_path):
    (changed,) = decided(store, (str(tmp_path / "a.mp4"), "2" * 64))
    assert changed.reason == (
        f"'{tmp_path}/a.mp4' has other bytes than when it was added as 'a'. Give --replace to take it as the new "
        "version of that video, or rename it to keep both."
    )


def test_a_file_that_can_replace_nothing_says_why(store):
    known = decided(store, ("/x/b.mp4", "1" * 64), ("/y/b.mp4", "2" * 64), replace_existing=True)
    assert "Several files of this call have that name" in known[1].reason
    commit(store, source("c", sha256="3" * 64, aliases=["d"]))
    bytes_known, alias = decided(store.newest(), ("/x/a.mp4", "3" * 64), ("/x/d.mp4", "4" * 64), replace_existing=True)
    assert "It replaces nothing, as the store has its bytes as 'c'. Rename the file" in bytes_known.reason
    assert "It replaces nothing, as that name is an alias of 'c'. Rename the file" in alias.reason


def test_files_of_one_call_know_of_each_other(store):
    files = [("/x/b.mp4", "3" * 64), ("/x/c.mp4", "3" * 64), ("/y/b.mp4", "4" * 64), ("/z/b.mp4", "3" * 64)]
    assert verdict(store, *files) == ["new", "alias", "name_conflict", "known"]
    assert verdict(store, *files, replace_existing=True) == ["new", "alias", "name_conflict", "known"], (
        "none is stored yet"
    )


@given(order=st.permutations(range(3)), known=st.booleans())
def test_two_files_of_one_call_never_replace_a_video_whatever_their_order(order, known):
    artifact = source("a", sha256="1" * 64)
    store = commit(
        FeatureStore.create(f"memory:replace {order} {known}"),
        Artifact(artifact.address, recipes.source("1" * 64), artifact.arrays, artifact.attributes),
    )
    files = [(f"/s{n}/a.mp4", str((1 if known else 2) + n) * 64) for n in order]
    found = decided(store, *files, replace_existing=True)
    assert sorted(map(_verdict, found)) == ["moved" if known else "name_conflict", "name_conflict", "name_conflict"]
    for incoming in found:
        if incoming.verdict == "name_conflict":
            assert incoming.file in incoming.reason
            assert "--names folder" in incoming.reason


def test_a_name_is_taken_by_the_first_file_that_is_a_video_and_bad_bytes_are_tried_once(store):
    files = [("/t/talk.mp3", "5" * 64), ("/t/talk.mpg", "6" * 64), ("/t/talk.wav", "7" * 64), ("/u/talk.mp3", "5" * 64)]
    found = decided(store, *files, bad=("/t/talk.mp3", "/t/talk.wav"))
    assert [incoming.verdict for incoming in found] == ["new", "new", "name_conflict", "refused"]
    assert "'/t/talk.mpg'" in found[2].reason


def test_a_copy_of_a_file_that_was_not_begun_is_not_said_to_be_bad(store):
    files = [("/t/talk.mp4", "5" * 64), ("/u/talk.mp4", "5" * 64), ("/v/talk.mp4", "6" * 64)]
    found = decided(store, *files, late=("/t/talk.mp4", "/u/talk.mp4"))
    assert [incoming.verdict for incoming in found] == ["new", "new", "new"]


def test_good_bytes_are_taken_in_although_a_copy_of_them_has_a_name_that_no_store_can_hold(store):
    files = [("/t/__x.mp4", "5" * 64), ("/t/x.mp4", "5" * 64)]
    assert [incoming.verdict for incoming in decided(store, *files, bad=("/t/__x.mp4",))] == ["unfit", "new"]


def test_one_name_written_in_two_unicode_forms_is_one_name(store):
    names = [video_name(form) for form in ("jos\u00e9", "jose\u0301", " jos\u00e9 ")]
    assert set(names) == {"jos\u00e9"}
    old = commit(store, source("jose\u0301", sha256="8" * 64))
    assert find_source(old, "jos\u00e9").address.video == "jose\u0301", "a name that an earlier version stored"
    assert verdict(old, ("/x/jos\u00e9.mp4", "9" * 64)) == ["name_conflict"]


def test_bytes_decoded_in_another_way_than_today_are_taken_in_again(tmp_path):
    old = source("a", sha256="1" * 64)
    store = commit(FeatureStore.create(f"memory:{tmp_path.name}"), old)
    assert store.records()[0].key == key_of(old.recipe)
    assert verdict(store, ("/x/a.mp4", "1" * 64)) == ["new"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        (" a", "blank"),
        ("a/b", "folders"),
        ("a\\b", "folders"),
        ("..", "dots"),
        ("a\nb", "U+000A"),
        ("__x", "begin with '__'"),
        ("zarr.json", "Zarr calls its own documents so"),
        ("caf\udce9", "no UTF-8"),
        ("x" * 256, "longer than 255 bytes"),
        ("\u65e5" * 86, "longer than 255 bytes"),
    ],
)
def test_a_name_that_a_store_cannot_hold_is_refused_with_the_true_reason(name, reason):
    with pytest.raises(SourceError, match="A video cannot be called") as refusal:
        check_name(name)
    assert reason in str(refusal.value)
    assert "\udce9" not in str(refusal.value), "what cannot be sent or stored is written out"


@pytest.mark.parametrize(
    "name",
    [
        "12-24-1920x1080", "Wolfgang Langer", "d\u00eda", "112", "-dash", ".hidden", "...and then", "what... baby",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "family \U0001f468\u200d\U0001f469", "soft\u00adhyphen",
        "\u05e2\u05d1\u05e8\u05d9\u05ea\u200f", "100%25 %s", "hash#tag?x=1", "colon:name", "~tilde", "$HOME", "c", "0",
        "a..b", "main", "x" * 251,
    ],
)  # fmt: skip
def test_every_other_name_is_taken_and_read_back(name, tmp_path):
    assert check_name(name) == name
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("beside"), source(name))
    assert find_source(store, name).address.video == name
    assert store.read(find_source(store, name).address)["pts"].size == 40
    export(store, store.records(), tmp_path / "out", "zarr")


@pytest.mark.parametrize(
    ("name", "parts"), [("12_left", ("12", "left")), ("12_right", ("12", "right")), ("12", ("12", "main"))]
)
def test_left_and_right_are_subjects_of_one_video(name, parts):
    assert split_subject(name) == parts
    assert join_subject(*parts) == name
    assert split_subject("_left") == ("_left", "main")
    assert split_subject(name, {name}) == (name, "main"), "a video that is itself called so is meant"


def test_hundreds_of_unreadable_files_are_noted_in_few_commits_with_their_reasons(tmp_path):
    url = str(tmp_path / "store")
    before = len(FeatureStore.create(url).history())
    for number in range(100):
        (tmp_path / f"{number}.mp4").write_bytes(f"no video {number}".encode())
    inputs = gather([str(path) for path in tmp_path.glob("*.mp4")])
    with RunnerSpec.of().start() as threads, run_on(Server(""), threads):
        outcomes = ingest_all(WorkerContext(url, "run", tmp_path), inputs, IngestOptions())
    assert {outcome.status for outcome in outcomes} == {"quarantined"}
    store = FeatureStore(url)
    assert len(store.records("quarantine")) == 100
    assert all("cannot be read" in record.attributes["reason"] for record in store.records("quarantine"))
    assert len(store.history()) - before <= 50, "the cost of a commit must not be paid for each file"
    assert {incoming.verdict for incoming in IncomingFiles(store, inputs.digests()[0]).next_round()} == {"refused"}
