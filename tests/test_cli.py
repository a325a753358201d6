"""The command line: documented exit codes, one sentence where something is wrong, and never a traceback."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import unicodedata

import pytest

from affstore import FeatureStore
from affstore.flows.cli import call, whole_app
from affstore.flows.yaml_files import read_yaml
from affstore.store.contract.errors import SpecError
from affstore.store.contract.keys import key_of
from affstore.store.contract.records import Address
from affstore.tasks import specs
from affstore.tasks.ingest.sources import quarantine_artifact
from affstore.tasks.lineage.reproduce import addresses_named
from tests.factories import commit, source, visual

COMMANDS = tuple(name for name in whole_app() if not name.startswith("-"))


@pytest.fixture
def url(tmp_path):
    url = str(tmp_path / "store")
    commit(FeatureStore.create(url), source("a", aliases=["copy"]), visual("a"))
    return url


def output(capsys, *arguments, code=0):
    assert call([str(argument) for argument in arguments]) == code
    return capsys.readouterr()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    said = output(capsys, command, "--help").out
    assert "Usage: affstore" in said
    assert "Example: affstore" in " ".join(said.split())


def test_help_names_every_command_and_the_exit_codes(capsys):
    said = output(capsys, "--help").out
    assert all(command in said for command in COMMANDS)
    assert "Exit codes" in said


def test_help_imports_nothing_heavy():
    heavy = ["torch", "tensorflow", "prefect", "av", "cv2", "zarr", "icechunk", "polars", "numpy", "timm", "dask"]
    code = (
        "import sys, affstore.flows.cli; affstore.flows.cli.call(['--help']); "
        f"sys.exit(any(m in sys.modules for m in {heavy}))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
    loaded = code.replace("affstore.flows.cli.call", "import numpy; affstore.flows.cli.call").replace(
        "; import numpy;", "\nimport numpy\n"
    )
    assert subprocess.run([sys.executable, "-c", loaded], stdout=subprocess.DEVNULL, check=False).returncode == 1


@pytest.mark.parametrize("name", ["trace", "import", "signature", "weights"])
def test_a_command_is_found_whether_or_not_others_were_asked_for_before(name):
    """In a process of its own, so that none was."""
    code = f"import sys; from affstore.flows.cli import call; sys.exit(call([{name!r}, '--help']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"affstore {name}" in done.stdout


def test_a_command_imports_no_module_of_another():
    code = "import sys; from affstore.flows.cli import call; call(['trace', '--help']); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    found = {line.rpartition(".")[2] for line in said.split() if line.startswith("affstore.flows.commands.")}
    assert {"trace"} <= found <= {"trace", "options", "next_steps"}


def test_status_lists_videos_producers_and_tags(url, capsys):
    FeatureStore(url).tag("v1")
    document = json.loads(output(capsys, "status", "--store", url, "--json").out)
    assert [(video["video"], video["frames"]) for video in document["videos"]] == [("a", 40)]
    assert document["producers"][0]["provenance"] == "untrained"
    assert set(document["tags"]) == {"v1"}
    assert "UNTRAINED" in output(capsys, "status", "--store", url).out


def test_show_finds_an_artifact_a_video_and_its_alias(url, capsys):
    document = json.loads(output(capsys, "show", "visual/toy/a/main", "--store", url, "--json").out)
    assert document["arrays"] == {"embedding": "float32 (40, 8)", "present": "bool (40,)"}
    assert document["affstore"]["key"] == key_of(visual("a").recipe)
    assert "visual/toy/a/main" in output(capsys, "show", "copy", "--store", url).out


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_video_is_found_by_its_name_in_any_unicode_form(tmp_path, capsys, form):
    stored, typed = (unicodedata.normalize(one, "visual/toy/café/main") for one in ("NFC", form))
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("caf\u00e9"), visual("caf\u00e9"))
    for words in (["show"], ["impact"], ["trace"], ["diff", store.snapshot, store.snapshot]):
        output(capsys, *words, typed, "--store", store.url)
    assert [one.path for one in addresses_named(store, [typed])] == [stored]


@pytest.mark.parametrize("what", ["a\udcffb", "source/a\udcffb"])
@pytest.mark.parametrize("command", ["show", "impact", "trace"])
def test_a_name_that_is_no_text_is_unknown_and_no_damage(url, capsys, command, what):
    said = output(capsys, command, what, "--store", url, code=4).err
    assert "damaged" not in said
    assert r"a\xffb'" in said


def test_export_writes_and_refuses_to_overwrite(url, tmp_path, capsys):
    output(capsys, "export", tmp_path / "out", "--store", url, "--to", "parquet", "--family", "visual")
    assert (tmp_path / "out" / "visual" / "toy.parquet").is_file()
    assert "not empty" in output(capsys, "export", tmp_path / "out", "--store", url, code=2).err


def test_a_dry_run_writes_nothing(url, tmp_path, capsys):
    before = FeatureStore(url).snapshot
    output(capsys, "export", tmp_path / "out", "--store", url, "--dry-run")
    output(capsys, "demo", tmp_path / "demo", "--dry-run")
    (tmp_path / "v.mp4").write_bytes(b"")
    assert "v.mp4" in output(capsys, "add", tmp_path / "v.mp4", "--store", url, "--dry-run").out
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "demo").exists()
    assert FeatureStore(url).snapshot == before


def test_plan_says_what_is_missing_by_its_exit_code_with_the_weights_that_the_store_was_made_with(url, capsys):
    commit(FeatureStore(url), source("b"), visual("b", extractor="emotieffnet_b0", width=1280))
    network = ("-e", "emotieffnet_b0", "--engine", "torch", "--precision", "float32")
    said = output(capsys, "plan", "--store", url, *network, code=10)
    assert "missing" in said.out
    assert "fresh" in said.out
    assert "comparing the store" in said.err
    official = ["plan", "--store", url, *network, "--weights", "official"]
    assert "affstore weights pull enet_b0_8_best_vgaf" in output(capsys, *official, code=5).err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["add", "/nowhere", "--store", "{url}"], 2, "There is no file or folder '/nowhere'"),
        (["add", "{empty}", "--store", "{url}"], 2, "holds no video and no annotation"),
        (["add", "{video}", "-e", "emotiefnet_b0"], 2, "Did you mean 'emotieffnet_b0'?"),
        (
            ["add", "{video}", "--store", "{url}", "-e", "emotieffnet_b0"],
            5,
            "affstore weights pull enet_b0_8_best_vgaf",
        ),
        (
            ["add", "{video}", "--store", "{url}"],
            5,
            "Type `affstore weights pull enet_b0_8_best_vgaf wav2vec2_base_960h`. Or run untrained parameters: ",
        ),
        (["add", "{video}", "--store", "/proc/x", "--weights", "untrained"], 4, "cannot be written"),
        (["add", "{video}", "--store", "{url}", "--workers", "-1", "--weights", "untrained"], 2, "workers"),
        (["add"], 2, "PATHS requires"),
        (
            ["experiment", "abaw6/table4", "-s", "{url}", "--scheduler", "tcp://h:1"],
            2,
            "No option of the runner 'threads' is called 'scheduler'. Known: pages, workers.",
        ),
        (["add", "{video}", "--colour", "red"], 2, "--colour"),
        (["status", "--store", "{empty}/none"], 4, "There is no store"),
        (["status", "--store", "{url}", "--at", "v9"], 4, "no tag, generation, snapshot or time 'v9'"),
        (["status", "--store", "{video}"], 4, "that is a file. Name a folder"),
        (["head", "list", "--store", "{video}"], 4, "that is a file. Name a folder"),
        (["add", "{video}", "--store", "{video}", "--weights", "untrained"], 4, "that is a file. Name a folder"),
        (["plan", "--store", "{video}", "--weights", "untrained"], 4, "that is a file. Name a folder"),
        (["status", "--store", ""], 2, "The address of the store is empty"),
        (["add", "{video}", "--store", "", "--weights", "untrained"], 2, "The address of the store is empty"),
        (["status", "--store", "{empty}/a b"], 4, "a b'` makes one"),
        (["verify", "--repair", "--store", "ftp://x"], 2, "A store cannot be at 'ftp://x'"),
        (["verify", "--repair", "--store", "s3://"], 2, "'s3://' names no place"),
        (["copy", "{url}", "{video}"], 2, "that is a file. Name another place"),
        (["show", "visual/toy/b/main", "--store", "{url}"], 4, "has no 'visual/toy/b/main'"),
        (["show", "visual/toy", "--store", "{url}"], 4, "is no address of an artifact"),
        (["show", "b", "--store", "{url}"], 4, "has no video 'b'"),
        (["export", "{empty}", "--store", "{url}", "--family", "visuals"], 2, "Did you mean 'visual'?"),
        (
            ["export", "{empty}", "--store", "{url}", "--to", "parket"],
            2,
            "No exporter is called 'parket'.",
        ),
        (["export", "/proc/x/out", "--store", "{url}"], 4, "The export to '/proc/x/out' cannot be written: "),
        (["weights", "import", "enet_b0_8_best_vgaff", "{video}"], 2, "Did you mean 'enet_b0_8_best_vgaf'?"),
        (["weights", "import", "enet_b0_8_best_vgaf", "/nowhere.pt"], 5, "no file '/nowhere.pt'"),
        (["weights", "import", "enet_b0_8_best_vgaf", "{video}"], 5, "not the published file"),
        (["run", "/nowhere.yaml"], 2, "cannot be read as a configuration"),
        (["run", "{config}"], 2, "No field of a configuration is called 'extractor'"),
        (["add", "{video}", "--runner", "dask", "--runner-option", "workers"], 2, "takes NAME=VALUE"),
        (["report", "--to", ".", "--store", "{url}"], 2, "'.' is a folder, and a file is to be written"),
        (["report", "--to", "{empty}", "--store", "{url}", "--dry-run"], 2, "is a folder, and a file is to be"),
        (["lineage", "openlineage", "", "--store", "{url}", "--dry-run"], 2, "is a folder, and a file is to be"),
        (["trace", "visual/toy/a/main/5", "--picture", "/", "--store", "{url}"], 2, "is a folder, and a file is"),
        (["head", "export", "h", ".", "--licence", "x", "--corpus", "y", "--store", "{url}"], 2, "is a folder, and"),
        (["head", "export", "h", "f", "--licence", " ", "--corpus", "y", "--store", "{url}"], 2, "--licence is empty"),
        (["head", "export", "h", "f", "--licence", "x", "--corpus", "", "--store", "{url}"], 2, "--corpus is empty"),
        (["copy", "{url}", "memory:x"], 2, "what is in memory is gone when the command ends"),
        (["frobnicate"], 2, "No command of `affstore` is called 'frobnicate'. Known: add, "),
        (["remove"], 2, "No command of `affstore` is called 'remove'. Known: add, "),
        (["stats"], 2, "Did you mean 'status'?"),
        (["weights", "pul"], 2, "No command of `affstore weights` is called 'pul'. Did you mean 'pull'?"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(arguments, code, sentence, url, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "v.mp4").write_bytes(b"not a video")
    (tmp_path / "c.yaml").write_text("extractor: [emotieffnet_b0]\n")
    places = {
        "url": url,
        "empty": str(tmp_path / "empty"),
        "video": str(tmp_path / "v.mp4"),
        "config": str(tmp_path / "c.yaml"),
    }
    said = output(capsys, *(argument.format(**places) for argument in arguments), code=code).err
    assert said.splitlines()[-1].startswith("affstore: ")
    assert sentence in said.splitlines()[-1]
    assert "Traceback" not in said


@pytest.mark.parametrize("place", ["", "/inner", ".runs", ".lists/x"])
@pytest.mark.parametrize(
    "words",
    [
        ["copy", "{url}", "{place}"],
        ["export", "{place}", "--to", "csv", "--store", "{url}"],
        ["export", "{place}", "--dry-run", "--store", "{url}"],
        ["report", "--to", "{place}/page.html", "--store", "{url}"],
        ["lineage", "openlineage", "{place}/events.jsonl", "--store", "{url}"],
        ["trace", "visual/toy/a/main/5", "--picture", "{place}/frame.png", "--store", "{url}"],
        ["head", "export", "h", "{place}/h.safetensors", "--licence", "x", "--corpus", "y", "--store", "{url}"],
        ["analyze", "v.mp4", "--out", "{place}", "--store", "{url}"],
        ["predict", "h", "a", "--out", "{place}", "--store", "{url}"],
        ["run", "{config}"],
    ],
    ids=lambda words: words[0],
)
def test_nothing_else_is_written_into_a_store_or_what_belongs_to_it(words, place, url, tmp_path, capsys):
    before, config = sorted(tmp_path.rglob("*")), tmp_path / "run.yaml"
    config.write_text(f"store: store\npublish: {{folder: store{place}}}\n")
    said = output(capsys, *(one.format(url=url, place=url + place, config=config) for one in words), code=2).err
    assert "Nothing else is written into a store" in said
    config.unlink()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("experiments: [{name: a, task: exr, inputs: [emotieffnet_b0]}]", "Did you mean 'expr'?"),
        ("experiments: [{name: a, task: expr, inputs: [mt_emotieffnet]}]", "No extractor is called 'mt_emotieffnet'"),
        ("sources: []\nexperiments:\n  - {name: a, task: expr, inputs: [x]}", "line 3: 'experiments.0.inputs'"),
        ("extractorz: []", "line 1: 'extractorz': No field of a configuration"),
        ("experiments: [abaw6/tabel5]", "Did you mean 'abaw6/table"),
        ("experiments: [{name: a, task: expr, inputz: [emotieffnet_b0]}]", "Did you mean 'inputs'?"),
        ("experiments: [{name: a, task: expr, inputs: [emotieffnet_b0.smile]}]", "found 'smile'"),
        (
            "experiments: [{name: a, task: expr, inputs: [emotieffnet_b0], changes: {epoch: 3}}]",
            "Did you mean 'epochs'?",
        ),
        (
            "experiments: [{name: a, task: au, inputs: [emotieffnet_b0]}, {name: a, task: va, inputs: [ddamfn]}]",
            "Two experiments are called 'a'",
        ),
        ("extractors: [emotieffnet_b0, emotieffnet_b0]", "named twice"),
        ("runner: {kind: dsk}", "No runner is called 'dsk'. Did you mean 'dask'?"),
        (
            "runner: {kind: dask, worker: 2}",
            "No option of the runner 'dask' is called 'worker'. Did you mean 'workers'?",
        ),
        ("runner: dask", "'runner' takes a kind with its options"),
        ("- just\n- a list", "holds no configuration"),
        ("a: [", "cannot be read"),
        ("store: a\nstore: b", "run.yaml' cannot be read as a configuration: 'store' is there twice, in lines 1 and 2"),
        ("store: a\nrunner:\n\tworkers: 2", "line 3: there is a tab; YAML indents with spaces"),
        ("store: @a", "line 1: no value begins with @; put it in quotes"),
        ("store: a: b", "line 1: mapping values are not allowed"),
        ("extractors: fer2013_mini_xception", "'extractors': it should be a list, as [one, another] (found 'fer2013"),
        ("store: [a, true]", "'store': it should be text (found ['a', true])"),
        ("store:", "'store': it should be text (found nothing)"),
        ("folds: 0", "'folds': it should be at least 2 or 'groups' (found 0)"),
        ("folds: many", "'folds': it should be a whole number or 'groups' (found 'many')"),
        ("crops: a", "'crops': it should be a mapping, as {name: value} (found 'a')"),
        ("3: a", "a field is called by text: put 3 in quotes"),
        ("labels: [{folder: a, format: b}]", "'labels.0.space': it is not there, and has to be"),
        ("labels: [{folder: a, formt: b}]", "Did you mean 'format'?"),
        ("runner: {kind: [dask]}", "The `kind` of a runner is its name, as dask; found ['dask']"),
        ("runner: {workers: few}", "'runner.workers' is wrong: it should be a whole number (found 'few')"),
        ("experiments: [[a]]", "an experiment is a name, a file, or a mapping"),
        ("experiments: [{name: a, task: va, inputs: ddamfn}]", "'experiments.0.inputs': it should be a list"),
        (
            "experiments: [{name: a, task: va, inputs: [ddamfn], smooth_frames: x}]",
            "it should be a whole number (found",
        ),
        (
            "experiments: [{name: a, task: va, inputs: [ddamfn], changes: {epochs: x}}]",
            "'experiments.0.changes.epochs': it should be a whole number (found 'x')",
        ),
        (
            "experiments: [{name: a, task: va, inputs: [ddamfn], head: sequence, changes: {window: {lengt: 3}}}]",
            "No field of the head's window is called 'lengt'",
        ),
        ("? [store]\n: b", "line 1: a field is called by a word or a number"),
        ("store: a\nbrief: !!bool often", "line 2: 'often' is no date or number"),
        ("store: a\x1b[2J", "it holds a character that no text has"),
        ("extractors: " + "[" * 500 + "]" * 500, "line 1 is nested more than 40 deep"),
        ("extractors:\n" + "".join("  " * n + "- \n" for n in range(1, 500)), "nested more than 40 deep"),
        ("runner: {workers: " + "9" * 5000 + "}", "a number of 5,000 digits"),
        ("runner: {workers: 0x" + "f" * 5000 + "}", "a number of 5,002 digits"),
        ("runner: {workers: " + "9" * 30 + "}", "'runner.workers' is wrong"),
        ("store: 2001-99-99", "cannot be read"),
        (
            "a0: &a0 [ha, ha]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
            + "extractors: *a11",
            "would be longer than 1,048,576 characters with its aliases written out",
        ),
        ("extractors: &a [*a]", "a value that holds itself"),
        ("extractors: [" + "x" * 500_000 + "]", "No extractor is called 'xxx"),
        ("#" * (1 << 20), "it is longer than 1,048,576 characters"),
        *(
            (f"publish: {{folder: out, tag: {json.dumps(tag)}}}", "A publication cannot be tagged")
            for tag in ("..", "a/b", "über", "a\nb", "-rf", ".hidden", "a b", "a\x1b[2J", "v1.", "a..b", "x" * 201)
        ),
    ],
)
def test_a_wrong_configuration_is_refused_before_any_work(text, sentence, url, tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(f"{text}\n" + ("" if "store" in text or text.startswith(("-", "a:")) else f"store: {url}\n"))
    said = output(capsys, "run", path, "--dry-run", code=2).err
    assert sentence in said
    assert said.count("\n") == 1
    assert len(said) < 900


def test_a_file_that_is_no_text_is_refused_in_words(tmp_path, capsys):
    (tmp_path / "run.yaml").write_bytes(b"store: a\nsources: \xca")
    for file, why in (
        ("run.yaml", "line 2 is no UTF-8 text"),
        ("absent.yaml", "there is no such file"),
        ("", "it is a folder"),
    ):
        assert why in output(capsys, "plan", tmp_path / file, code=2).err


def test_an_entry_that_takes_over_another_s_fields_may_write_them_anew(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("- &one {name: a, task: va}\n- {<<: *one, name: b}\n")
    assert read_yaml(path, "a list") == ({"name": "a", "task": "va"}, {"name": "b", "task": "va"})
    path.write_text("- &one {name: a}\n- {<<: *one, task: au, task: va}\n")
    with pytest.raises(SpecError, match="'task' is there twice, in line 2"):
        read_yaml(path, "a list")


def test_names_that_begin_with_a_dash_are_told_from_options(url, capsys):
    said = output(capsys, "add", "-talk-.mp4", "--store", url, code=2).err
    assert "'./-talk-.mp4'" in said
    assert "behind `--`, after all options: `-- -talk-.mp4`" in said
    said = output(capsys, "show", "--", "-talk-", "--store", url, code=2).err
    assert "'--store' stands behind `--`" in said
    assert "Write options before it" in said
    assert "'-talk-'" in output(capsys, "show", "--store", url, "--", "-talk-", code=4).err
    assert "Did you mean --store?" in output(capsys, "show", "--stor", url, code=2).err


def test_doctor_finds_this_machine_fit(url, capsys):
    findings = json.loads(output(capsys, "doctor", "--store", url, "--json").out)
    assert {finding["check"] for finding in findings} >= {"Python", "store", "face detector", "packages"}
    assert not [finding for finding in findings if finding["healthy"] is False]


def test_doctor_names_packages_of_another_version_than_affstore_needs(url, capsys, monkeypatch):
    real = specs.installed_versions
    here = {"zarr": "3.1.3", "lightautoml": None, "icechunk": None, "dask": "2025.1.0"}

    def installed(packages):
        found = real(packages) | {name: here[name] for name in packages if name in here}
        return {name: version for name, version in found.items() if version}

    monkeypatch.setattr(specs, "installed_versions", installed)
    findings = {one["check"]: one for one in json.loads(output(capsys, "doctor", "--store", url, "--json", code=1).out)}
    said = findings["packages"]["text"]
    assert not findings["packages"]["healthy"]
    assert "zarr 3.1.3, and affstore needs <4,>=3.4" in said
    assert "icechunk is not installed" in said
    assert "dask 2025.1.0, and affstore needs" in said  # of an extra, which need not be there
    assert "lightautoml" not in said


def test_the_dry_run_of_add_is_its_plan_with_networks_and_time_before_any_weights_are_here(url, tmp_path, capsys):
    commit(FeatureStore(url), source("b"), visual("b", extractor="emotieffnet_b0"))
    (tmp_path / "v.mp4").write_bytes(b"no video yet")
    (tmp_path / "notes.csv").write_text("a,b\n")
    arguments = ("add", tmp_path / "v.mp4", tmp_path / "notes.csv", "-e", "emotieffnet_b0", "--store", url)
    document = json.loads(output(capsys, *arguments, "--dry-run", "--json").out)
    assert {row["network"]: row["videos"] for row in document["networks"]} == {"emotieffnet_b0": 1, "mtcnn": 1}
    assert "affstore weights pull" in document["lacking"]
    assert "is a table" in document["refused"][0]
    assert not [row for row in document["artifacts"] if "/b" in row["artifact"]], "what other videos lack is not asked"
    assert "not known yet" in output(capsys, *arguments, "--dry-run").out


def test_the_dry_run_of_add_names_label_files_of_videos_that_the_store_lacks(url, tmp_path, capsys):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "n.csv").write_text("start,end,label\n0,1,Happiness\n")
    arguments = ("add", "--labels", f"timed_table:expr={tmp_path / 'labels'}", "--store", url, "--dry-run")
    said = output(capsys, *arguments).out
    assert "nothing to take in or extract\n1 label file is of no video of the store: " in said
    assert "the store is empty" not in said
    (tmp_path / "n.mp4").write_bytes(b"no video yet")
    said = output(capsys, *arguments, tmp_path / "n.mp4").out
    assert f"1 label file to read once the videos are taken in: {tmp_path / 'labels' / 'n.csv'}" in said
    (tmp_path / "labels" / "n.csv").rename(tmp_path / "labels" / "a.csv")
    said = output(capsys, *arguments).out
    assert f"to read: {tmp_path / 'labels' / 'a.csv'}" in said
    assert "label file" not in said


def test_the_dry_run_of_add_heeds_replace_and_retry(url, tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(b"other bytes than those of the store's 'a'")
    arguments = ("add", tmp_path / "a.mp4", "-e", "emotieffnet_b0", "--store", url, "--dry-run", "--json")

    def status_of_source(*more):
        rows = json.loads(output(capsys, *arguments, *more).out)["artifacts"]
        return [row["status"] for row in rows if row["artifact"].startswith("source/")]

    assert status_of_source() == ["quarantined"]
    assert status_of_source("--replace") == ["missing"]
    commit(
        FeatureStore(url),
        quarantine_artifact("ingest", "n", tmp_path / "n.mp4", hashlib.sha256(b"n").hexdigest(), "Unreadable."),
    )
    (tmp_path / "n.mp4").write_bytes(b"n")
    arguments = ("add", tmp_path / "n.mp4", *arguments[2:])
    assert status_of_source() == ["quarantined"]
    assert status_of_source("--retry") == ["missing"]


@pytest.fixture
def quarantined(url, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    notes = [
        quarantine_artifact("ingest", name, tmp_path / f"{name}.mp4", key_of(name), "It cannot be read.")
        for name in ("bad", "gone")
    ]
    commit(FeatureStore(url), *notes)
    return url


def test_the_quarantine_is_listed_and_entries_are_dropped_by_number_file_or_name(quarantined, tmp_path, capsys):
    listed = json.loads(output(capsys, "quarantine", "list", "--store", quarantined, "--json").out)
    assert {entry["name"]: entry["reason"] for entry in listed} == dict.fromkeys(("bad", "gone"), "It cannot be read.")
    assert "no 'other' in quarantine" in output(capsys, "quarantine", "drop", "other", "-s", quarantined, code=4).err
    assert "--all" in output(capsys, "quarantine", "drop", "-s", quarantined, code=2).err
    output(capsys, "quarantine", "drop", tmp_path / "bad.mp4", "--store", quarantined)
    left = json.loads(output(capsys, "quarantine", "list", "--store", quarantined, "--json").out)
    assert [entry["name"] for entry in left] == ["gone"]
    assert "any more" in output(capsys, "quarantine", "retry", "gone", "--store", quarantined, code=3).err
    output(capsys, "quarantine", "drop", left[0]["number"], "--store", quarantined)
    assert "Nothing is in quarantine" in output(capsys, "quarantine", "list", "--store", quarantined).out
    assert FeatureStore(quarantined).find(Address("source", video="a")), "nothing else is touched"
