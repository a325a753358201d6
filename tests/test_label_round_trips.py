"""Labels that are exported for ELAN and Praat come back as they were: what is unknown stays unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from affstore import FeatureStore, read_clock
from affstore.flows.cli import call
from affstore.flows.inputs import LabelFolder
from affstore.models.labels.base import FORMATS
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.labels import TASKS, SpaceKind, space_of
from affstore.store.contract.names import split_subject
from affstore.store.contract.records import Address, Artifact
from tests.factories import commit, decisions_of, labels_of, source
from tests.test_analyze import FRAMES, person, voice

OWN = {
    "audience": {"kind": "classes", "names": ["asleep", "bored", "wide awake"]},
    "gestures": {"kind": "units", "names": ["nod", "unknown", "head/tilt"]},
    "facs": {"kind": "units", "names": ["AU12", "AU4"], "range": [0, 5]},
    "mood": {"kind": "values", "names": ["tension", "power"], "range": [-10, 100]},
}
SPACES = TASKS | {name: space_of(name, written) for name, written in OWN.items()}
PEOPLE = {
    "solo": ("main",),
    "talk_left": ("main",),
    "pair": ("left", "right"),
    "crowd": ("person1", "person2", "person10"),
}
"""By video; one is called as if it were a person of another."""
FORMS = {"elan": "eaf", "praat": "TextGrid"}


def slow_clock(video) -> Artifact:
    """A source at 29.97 frames/s, whose instants ELAN's milliseconds round."""
    of = source(video, FRAMES, time_base=[1001, 30_000], end_pts=FRAMES)
    pts = np.arange(FRAMES, dtype=np.int64)
    return Artifact(of.address, of.recipe, {"pts": pts, "time_s": pts * 1001 / 30_000}, of.attributes)


def sources():
    return [slow_clock(video) if video == "crowd" else source(video, FRAMES) for video in PEOPLE]


def labels():
    """Labels of every person in every space: some frames are unknown, and some units in all or none of them."""
    rng = np.random.default_rng(0)
    for space in SPACES.values():
        for video, subjects in PEOPLE.items():
            for subject in subjects:
                shape = (FRAMES, space.columns)
                held = np.repeat(rng.uniform(space.low, space.high, (FRAMES // 4, space.columns)), 4, axis=0)
                value = held if space.kind is SpaceKind.VALUES else np.rint(held)
                known = np.repeat(rng.random((FRAMES // 4, space.columns)) < 0.7, 4, axis=0)
                if space.kind is SpaceKind.UNITS:
                    known[:, 0], known[:, 1], value[:, 1] = False, True, 0
                yield labels_of(space, video, value.reshape(shape), known, subject)


def predicted():
    """Units that a head predicts otherwise, of the same names, also for a video without labels."""
    for video, subjects in PEOPLE.items():
        for subject in subjects:
            yield decisions_of(TASKS["au"], "au-mlp", video, np.ones((FRAMES, 12)), subject)
    yield source("unlabelled", FRAMES)
    yield decisions_of(TASKS["au"], "au-mlp", "unlabelled", np.ones((FRAMES, 12)))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    url = str(tmp_path_factory.mktemp("labelled") / "store")
    there = [*person("solo", "main", np.ones(FRAMES, bool)), voice("solo")]
    return commit(FeatureStore.create(url), *sources(), *labels(), *predicted(), *there)


@pytest.fixture(scope="module", params=FORMS)
def exported(request, store, tmp_path_factory) -> tuple[str, Path]:
    """The name of a format, and a folder that the command line exported it to."""
    folder = tmp_path_factory.mktemp("exported") / request.param
    assert call(["export", str(folder), "--store", store.url, "--to", request.param]) == 0
    return request.param, folder


def check_equal(store, again) -> None:
    """See that all labels are there again, bit for bit, and no others."""
    wanted = store.addresses("label")
    assert again.addresses("label") == wanted
    for address in wanted:
        first, then = store.read(address), again.read(address)
        np.testing.assert_array_equal(then["known"], first["known"], str(address))
        np.testing.assert_array_equal(then["value"], first["value"], str(address))
        assert again.get(address).attributes["complaint"] is None


@pytest.mark.parametrize("space", SPACES.values(), ids=str)
def test_each_person_s_labels_are_read_back_as_they_were(store, exported, space):
    name, folder = exported
    found = LabelFolder(str(folder), name, space).files()
    videos = {address.video for address in store.addresses("source")}
    of_file = {one.path.stem if not one.within else one.within for one in found}
    assert of_file == {
        address.video if address.subject == "main" else f"{address.video}_{address.subject}"
        for address in store.addresses("label")
        if address.producer == space.name
    }
    for one in found:
        video, subject = split_subject(one.name, videos)
        stored = store.read(Address("label", space.name, video, subject))
        read = FORMATS.get(name).read(one, space, read_clock(store, video))
        np.testing.assert_array_equal(read.known, stored["known"])
        np.testing.assert_array_equal(np.where(read.known, read.value, 0), stored["value"])
        assert read.complaint is None


def test_labels_go_before_predictions_of_the_same_names_and_it_is_said(store, exported):
    name, folder = exported
    form = FORMATS.get(name)
    read = form.read(form.at(folder / f"solo.{FORMS[name]}"), TASKS["au"], read_clock(store, "solo"))
    assert read.note == (
        "read from the tier 'label/au/main/AU1' and 11 more; left aside: 'prediction/au-mlp/main/AU1' and 13 more"
    )


def test_a_tier_of_one_s_own_goes_before_those_of_an_export(store, exported):
    name, folder = exported
    form = FORMATS.get(name)
    path = folder / f"solo.{FORMS[name]}"
    corrected = path.with_stem("corrected")
    corrected.write_text(path.read_text().replace("prediction/au-mlp/main/AU2", "AU2"))
    read = form.read(form.at(corrected), TASKS["au"], read_clock(store, "solo"))
    corrected.unlink()
    assert read.value[:, 1].all()
    assert read.note == (
        "read from the tier 'AU2' and 4 more, and 'label/au/main/AU1' and 6 more; "
        "left aside: 'prediction/au-mlp/main/AU1' and 13 more"
    )


def test_an_export_without_labels_gives_its_predictions_only_where_no_other_has_labels(store, exported, tmp_path):
    name, folder = exported
    suffix = FORMS[name]
    files = LabelFolder(str(folder), name, TASKS["au"]).files()
    assert "unlabelled" not in {one.name for one in files}
    (tmp_path / f"unlabelled.{suffix}").write_bytes((folder / f"unlabelled.{suffix}").read_bytes())
    (one,) = LabelFolder(str(tmp_path), name, TASKS["au"]).files()
    read = FORMATS.get(name).read(one, TASKS["au"], read_clock(store, "unlabelled"))
    assert read.value.all()
    assert read.note == "read from the tier 'prediction/au-mlp/main/AU1' and 11 more, predictions"
    with pytest.raises(AnnotationError, match="'prediction/au-mlp/main/AU10' and 6 more"):
        FORMATS.get(name).read(one, TASKS["va"], read_clock(store, "unlabelled"))


def intervals_by_others(name, path):
    """The intervals of each tier in s, as pympi or praatio reads them."""
    if name == "elan":
        pympi = pytest.importorskip("pympi", reason="needs pympi-ling")
        file = pympi.Elan.Eaf(str(path))
        return {
            tier: sorted((a / 1000, b / 1000, text) for a, b, text, *_ in file.get_annotation_data_for_tier(tier))
            for tier in file.get_tier_names()
        }
    textgrid = pytest.importorskip("praatio.textgrid", reason="needs praatio")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    return {tier: [tuple(one) for one in grid.getTier(tier).entries] for tier in grid.tierNames}


@pytest.mark.parametrize("space", SPACES.values(), ids=str)
@pytest.mark.parametrize(("video", "subject"), [("pair", "right"), ("crowd", "person10")])
def test_other_programs_read_what_is_known_where_it_is_known(store, exported, space, video, subject):
    name, folder = exported
    tiers = intervals_by_others(name, folder / f"{video}.{FORMS[name]}")
    held = store.read(Address("label", space.name, video, subject))
    middles = read_clock(store, video).starts_s + 0.01
    of_classes = space.kind is SpaceKind.CLASSES
    for column, unit in enumerate(("",) if of_classes else space.names):
        tier = tiers["/".join(part for part in ("label", space.name, subject, unit) if part)]
        for frame, middle in enumerate(middles):
            said = next((text for start, end, text in tier if start <= middle < end), None)
            value = held["value"][frame, column]
            if space.kind is SpaceKind.UNITS:
                shown = unit if value else None
                wanted = shown if held["known"][frame, column] else ("?" if unit == "unknown" else "unknown")
                assert said == wanted
            elif not held["known"][frame, column]:
                assert said is None
            elif of_classes:
                assert said == space.names[value]
            else:
                assert float(said) == pytest.approx(float(value), rel=1e-7)


@pytest.mark.slow
def test_the_challenges_labels_come_back_through_the_command_line(server, store, exported, tmp_path):
    name, folder = exported
    other = str(tmp_path / "other")
    commit(FeatureStore.create(other), *sources())
    given = [part for space in TASKS for part in ("--labels", f"{name}:{space}={folder}")]
    assert call(["add", "--store", other, "--weights", "untrained", "-e", "silero_vad", *given]) == 0
    for address in (one for one in store.addresses("label") if one.producer in TASKS):
        first, then = store.read(address), FeatureStore(other).read(address)
        np.testing.assert_array_equal(then["known"], first["known"], str(address))
        np.testing.assert_array_equal(then["value"], first["value"], str(address))


@pytest.mark.slow
def test_labels_of_all_spaces_come_back_through_a_configuration(server, store, exported, tmp_path):
    name, folder = exported
    other = tmp_path / "other"
    commit(FeatureStore.create(str(other)), *sources())
    document = {
        "store": str(other),
        "weights": "untrained",
        "extractors": ["silero_vad"],
        "label_spaces": OWN,
        "labels": [{"folder": str(folder), "format": name, "space": space} for space in SPACES],
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document))
    call(["run", str(tmp_path / "run.yaml")])
    check_equal(store, FeatureStore(str(other)))
