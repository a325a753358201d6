"""One rule for all commands: what a name that is not there ends with, and which commands read an earlier state."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affstore import FeatureStore
from affstore.flows.cli import call, whole_app
from affstore.store.contract.keys import digest_file, key_of
from affstore.store.contract.records import Address
from affstore.store.engine.generations import begin
from affstore.tasks.ingest.sources import quarantine_artifact
from affstore.tasks.lineage.publication import write_note
from tests.factories import commit, source
from tests.lineage_store import head, label, prediction, whole_chain
from tests.test_signature import write_keys


def every_command(of, path=()):
    """Every command by its name, with the function that carries it out."""
    found = {}
    for name in of:
        if not name.startswith("-"):
            inner = of[name]
            deeper = inner.default_command is None
            found |= every_command(inner, (*path, name)) if deeper else {" ".join((*path, name)): inner.default_command}
    return found


EVERY = every_command(whole_app())

WRITING = {
    *("add", "analyze", "experiment", "forget", "gc", "head import", "import", "predict", "quarantine drop"),
    *("quarantine retry", "rollback", "upgrade", "generation drop", "generation promote"),
}
"""Commands that write to the store that they are given, so that an earlier state of it is nothing to them."""

READING = {
    "diff": ["--json"],
    "export": ["{folder}/out", "--dry-run", "--json"],
    "head export": ["later", "{folder}/head", "--licence", "CC0-1.0", "--corpus", "none", "--json"],
    "head list": ["--json"],
    "impact": ["later", "--json"],
    "lineage methods": ["later"],
    "lineage openlineage": ["{folder}/events", "--json"],
    "log": ["--videos", "--json"],
    "plan": ["{folder}/plan.yaml", "--everything", "--json"],
    "quarantine list": ["--json"],
    "report": ["--dry-run", "--json"],
    "reproduce": ["source/later"],
    "show": ["--json"],
    "status": ["--json"],
    "trace": ["source/later"],
    "verify": ["--json"],
}
"""How each command that only reads a store is asked for something that came later."""

REFUSING = {
    "doctor": [],
    "generation list": [],
    "lineage ro-crate": ["{folder}/v1"],
    "sign": ["{folder}/v1", "--key", "{folder}/key.pem"],
}
"""Commands that only read a store, and not at a state that one may choose."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store with a head and predictions, a tagged publication of it, and what was added later."""
    folder = tmp_path_factory.mktemp("states")
    store = whole_chain(str(folder / "store"), folder)
    store.tag("v1")
    (folder / "v1").mkdir()
    (folder / "v1" / "expr-mlp.txt").write_text("published", encoding="ascii")
    write_note(folder / "v1", [(folder / "v1" / "expr-mlp.txt", "expr-mlp")], store.snapshot, "v1")
    (folder / "plan.yaml").write_text(f"store: {store.url}\nextractors: []\n", encoding="utf-8")
    add_later(store, folder)
    return folder


def add_later(store, folder):
    """What is called so: a video, a file that was refused, a head, and its predictions."""
    refused = quarantine_artifact("ingest", "later", folder / "later.mp4", key_of("later"), "It cannot be read.")
    store = commit(store, source("later"), refused, head(store, "later", seed=1), run_id="r9")
    commit(store, replace(prediction(store, "a"), address=Address("prediction", "later", "a", "main")), run_id="r9")


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    """A store of the same, where what was added later is in a generation."""
    folder = tmp_path_factory.mktemp("unseen")
    store = whole_chain(str(folder / "store"), folder)
    (folder / "plan.yaml").write_text(f"store: {store.url}\nextractors: []\n", encoding="utf-8")
    add_later(begin(store, "next"), folder)
    return folder


def outcome(capsys, place, command, arguments, *more):
    """The exit code and what a command says on either stream."""
    of_store = [] if command in ("plan", "view") else ["--store", str(place / "store")]
    code = call([*command.split(), *(one.format(folder=place) for one in arguments), *of_store, *more])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_every_command_that_only_reads_a_store_is_tried_at_an_earlier_state():
    reading = {name for name, function in EVERY.items() if "store" in inspect.signature(function).parameters} - WRITING
    assert reading == READING.keys() | REFUSING.keys()
    assert not [name for name in WRITING if "at" in inspect.signature(EVERY[name]).parameters]


@pytest.mark.parametrize("command", READING)
def test_an_earlier_state_is_what_a_reading_command_reads(place, capsys, command):
    state = FeatureStore(str(place / "store"), "v1")
    now = outcome(capsys, place, command, READING[command])
    then = outcome(capsys, place, command, READING[command], "--at", state.history()[0].written_at.isoformat())
    assert then[:2] != now[:2]
    assert "later" not in then[1]
    code, _, error = outcome(capsys, place, command, READING[command], "--at", "1999-12-31")
    assert code == 4
    assert "no tag, generation, snapshot or time '1999-12-31'" in error.splitlines()[-1]


@pytest.mark.parametrize("command", READING)
def test_a_generation_is_what_a_reading_command_reads(unseen, capsys, command):
    now = outcome(capsys, unseen, command, READING[command])
    then = outcome(capsys, unseen, command, READING[command], "--at", "next")
    assert then[:2] != now[:2]
    assert then[0] != 4
    assert "later" not in now[1]


@pytest.mark.parametrize("command", REFUSING)
def test_a_command_that_cannot_read_an_earlier_state_says_why(place, capsys, command):
    code, _, error = outcome(capsys, place, command, REFUSING[command], "--at", "v1")
    assert (code, error.count("\n")) == (2, 1)
    assert "--at 'v1' has no meaning here: the" in error


def test_a_copy_is_of_the_newest_state_and_the_tags_whatever_state_is_named(place, tmp_path, capsys):
    assert call(["copy", str(place / "store"), str(tmp_path / "copy"), "--at", "v1"]) == 2
    assert "--at 'v1' has no meaning here: the newest state and every tag are copied" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()


def test_two_states_at_once_are_refused(place, capsys):
    later = FeatureStore(str(place / "store")).snapshot
    code, _, error = outcome(capsys, place, "report", ["v1", "--dry-run"], "--at", later)
    assert (code, "name two states" in error) == (2, True)
    assert outcome(capsys, place, "report", ["v1", "--dry-run"], "--at", "v1")[0] == 0
    code, _, error = outcome(capsys, place, "diff", ["v1", later], "--at", later)
    assert (code, "Both" in error) == (2, True)
    assert outcome(capsys, place, "report", ["r9", "--dry-run"], "--at", "v1")[0] == 4


# Names

IN_STORES = {
    "diff": ["v1", "v1", "nope"],
    "forget": ["nope", "--dry-run"],
    "generation drop": ["nope"],
    "generation promote": ["nope", "--dry-run"],
    "head export": ["nope", "{folder}/head", "--licence", "CC0-1.0", "--corpus", "none"],
    "impact": ["nope"],
    "lineage methods": ["nope"],
    "lineage openlineage": ["{folder}/events", "nope"],
    "predict": ["nope", "a"],
    "quarantine drop": ["nope"],
    "quarantine retry": ["nope"],
    "report": ["nope", "--dry-run"],
    "reproduce": ["nope"],
    "rollback": ["nope", "--dry-run"],
    "show": ["nope"],
    "trace": ["nope/a/1"],
    "view": ["nope", "--in", "{folder}"],
}
"""A name that only a store, or what was written from it, could have."""

OF_AFFSTORE = {
    "experiment": ["list", "nope"],
    "list": ["nope"],
    "weights import": ["nope", "{folder}/plan.yaml"],
    "weights pull": ["nope"],
    "weights verify": ["nope"],
}
"""A name that affstore itself would have to know."""

FILES = {
    *("add", "analyze", "copy", "demo", "export", "head import", "import", "lineage ro-crate", "plan", "run", "sign"),
    *("signature", "upgrade"),
}
"""Commands whose arguments are files, folders or stores."""


def test_every_command_that_takes_a_name_is_tried_with_one_that_is_not_there():
    named = {name for name, function in EVERY.items() if any(map(is_given_by_place, parameters(function)))}
    assert named == IN_STORES.keys() | OF_AFFSTORE.keys() | FILES


def parameters(function):
    return inspect.signature(function).parameters.values()


def is_given_by_place(parameter):
    return parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL)


@pytest.mark.parametrize("command", IN_STORES)
def test_a_name_that_the_store_does_not_have_ends_with_4_and_one_sentence(place, capsys, command):
    code, said, error = outcome(capsys, place, command, IN_STORES[command])
    assert (code, said) == (4, "")
    assert "nope" in error
    assert error.count("\n") == 1
    assert len(error) < 400


@pytest.mark.parametrize("command", OF_AFFSTORE)
def test_a_name_that_affstore_does_not_know_ends_with_2_and_one_sentence(place, capsys, command):
    words = [one.format(folder=place) for one in OF_AFFSTORE[command]]
    assert call([*command.split(), *words]) == 2
    error = capsys.readouterr().err
    assert "called 'nope'" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", sorted({*READING, *REFUSING, "signature"}))
def test_the_help_of_a_reading_command_names_its_exit_codes(capsys, command):
    assert call([*command.split(), "--help"]) == 0
    assert "The exit code is" in " ".join(capsys.readouterr().out.split())


def test_a_name_that_is_almost_right_is_suggested_and_the_names_are_not_listed(place, capsys):
    for command, asked, meant in (
        ("reproduce", "visual/toy/a/mian", "visual/toy/a/main"),
        ("trace", "visual/toy/a/mian", "visual/toy/a/main"),
        ("lineage methods", "expr-mpl", "expr-mlp"),
        ("report", "v11", "v1"),
    ):
        code, _, error = outcome(capsys, place, command, [asked])
        assert (code, "has no" in error, f"Did you mean '{meant}'?" in error) == (4, True, True), command
    code, _, error = outcome(capsys, place, "diff", ["v1", "v1", "visual/toy/c"])
    assert (code, "Did you mean 'visual/toy'" in error or "'visual/toy/" in error) == (4, True)
    assert outcome(capsys, place, "diff", ["v1", "v1", "copy"])[0] == 0, "an alias of a video"


def test_every_command_says_of_a_retracted_publication_that_it_was_retracted(tmp_path, capsys):
    store = whole_chain(str(tmp_path / "store"), tmp_path)
    store.tag("v1")
    published = tmp_path / "v1" / "expr-mlp.txt"
    published.parent.mkdir()
    published.write_text("name,class\na/00001.jpg,0\n", encoding="ascii")
    write_note(tmp_path / "v1", [(published, "expr-mlp")], store.snapshot, "v1")
    write_keys(tmp_path, "key", Ed25519PrivateKey.generate())
    assert call(["forget", "a", "--yes", "--store", store.url]) == 0
    capsys.readouterr()
    naming = {
        "diff": ["v1"],
        "impact": ["v1"],
        "lineage ro-crate": ["{folder}/v1"],
        "report": ["v1", "--dry-run"],
        "rollback": ["v1", "--dry-run"],
        "sign": ["{folder}/v1", "--key", "{folder}/key.pem"],
        "trace": ["{folder}/v1/expr-mlp.txt:2"],
    }
    ways = [(name, words, ()) for name, words in naming.items()]
    ways += [(name, words, ("--at", "v1")) for name, words in READING.items() if name != "plan"]
    for command, words, more in ways:
        code, said, error = outcome(capsys, tmp_path, command, words, *more)
        assert (code, said, error.count("\n")) == (4, "", 1), command
        assert "was retracted on 20" in error, command


def test_a_device_that_is_not_here_is_refused_where_no_network_runs_too(place, capsys):
    for device, said in (("xpu", "affstore runs networks on 'cpu' or 'cuda'"), ("dishwasher", "is not a device")):
        code, _, error = outcome(capsys, place, "reproduce", ["label/expr/a/main"], "--device", device)
        assert (code, said in error) == (2, True)


def test_a_file_name_that_several_files_have_is_refused_with_their_places(tmp_path, capsys):
    for part in ("train", "validation"):
        (tmp_path / part).mkdir()
    store = FeatureStore.create(str(tmp_path / "store"))
    store = commit(store, source("a"), source("b"))
    labels = [annotated(store, "a", "train", tmp_path), annotated(store, "b", "validation", tmp_path)]
    commit(store, *labels)
    assert call(["impact", "same.txt", "--store", store.url]) == 2
    error = capsys.readouterr().err
    assert "'same.txt' stands for 2 files" in error
    assert all(f"annotation '{tmp_path / part / 'same.txt'}'" in error for part in ("train", "validation"))
    assert call(["impact", str(tmp_path / "train" / "same.txt"), "--store", store.url]) == 0
    assert "1 artifacts stand on the annotation" in capsys.readouterr().out


def annotated(store, video, split, folder):
    """A label from an annotation file of its own, which is called as all others are."""
    path = folder / split / "same.txt"
    made = label(store, video, split, path)
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{len(split)}", encoding="utf-8")
    return replace(made, recipe={**made.recipe, "bytes": digest_file(path)})
