"""Crop folders: which file is which frame, what a picture may be, and the same embeddings as by the detector."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from affstore import FeatureStore, content_digest, read_video
from affstore.flows.cli import call
from affstore.flows.config.run_config import checked
from affstore.flows.inputs import gather
from affstore.flows.request import request_of
from affstore.flows.stages.extract import due_jobs
from affstore.models.extractor_specs import Crop
from affstore.models.faces.crop_folder import find_crops
from affstore.models.faces.crop_pictures import CropPictures
from affstore.models.faces.crops import cut
from affstore.models.heads.mlp.spec import EXPR_MLP
from affstore.models.media.pictures import decode
from affstore.models.media.video import frames
from affstore.store.contract.errors import MediaError
from affstore.store.contract.keys import digest_file
from affstore.store.contract.names import SIDES
from affstore.store.contract.records import Address, Artifact, Record
from affstore.tasks import recipes
from affstore.tasks.extract.face_crops import FaceFrames, Pictures
from affstore.tasks.extract.videos import extract
from affstore.tasks.ingest.incoming_files import IncomingFile
from affstore.tasks.ingest.sources import facts_of
from affstore.tasks.ingest.videos import ingest
from affstore.tasks.specs import HeadRun, Input
from affstore.tasks.training.examples import face_of, features_of, subject_of, subjects_of
from tests.factories import commit, source, visual

RGB = np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8)
TURN_RIGHT = 6


def encoded(picture=RGB, form="PNG", mode="RGB", turn=None):
    exif = Image.Exif()
    if turn is not None:
        exif[0x0112] = turn
    file = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(file, form, exif=exif)
    return file.getvalue()


def encoded_blank(side_px, mode):
    file = io.BytesIO()
    Image.new(mode, (side_px, side_px)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def write(folder, **files):
    """Files by name, without their dots: `_00001png` is `00001.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def read(folder, frames=10):
    """The folder's pictures by frame, and the folder after it was read."""
    pictures = CropPictures(folder, frames)
    return dict(pictures), pictures


# One picture


def test_a_lossless_picture_is_its_pixels():
    decoded = decode(encoded())
    np.testing.assert_array_equal(decoded.rgb, RGB)
    assert not decoded.turned


@pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", mode) for mode in ("L", "1", "P", "LA", "RGBA")] + [("JPEG", mode) for mode in ("RGB", "L", "CMYK")],
)
def test_every_kind_of_picture_becomes_rgb_as_pillow_says(form, mode):
    content = encoded(form=form, mode=mode)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(decode(content).rgb, expected)


JPEGS = [
    {"subsampling": 0},
    {"subsampling": 1, "quality": 50},
    {"subsampling": 2},
    {"progressive": True},
    {"keep_rgb": True},
    {"restart_marker_blocks": 2},
]


@pytest.mark.parametrize("how", JPEGS, ids=str)
@pytest.mark.parametrize("side", [1, 17, 112])
def test_every_kind_of_jpeg_has_the_pixels_that_pillow_gives_it(how, side):
    content = jpeg(side, **how)
    np.testing.assert_array_equal(decode(content).rgb, by_pillow(content))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@given(st.data())
def test_a_damaged_jpeg_is_what_pillow_makes_of_it_or_refused_with_it(data):
    content = damaged(jpeg(40, **data.draw(st.sampled_from(JPEGS))), data)
    expected = by_pillow(content)
    if expected is None:
        with pytest.raises(MediaError):
            decode(content)
    else:
        np.testing.assert_array_equal(decode(content).rgb, expected)


def jpeg(side, **how):
    file = io.BytesIO()
    noise = Image.fromarray(RGB).resize((side, side))
    noise.save(file, "JPEG", **how)
    return file.getvalue()


def by_pillow(content):
    """What Pillow alone makes of a JPEG; None where it refuses it."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as picture:
            picture.load()
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except Exception:  # noqa: BLE001 - whatever Pillow raises of bytes that are no picture
        return None


def test_of_16_bits_the_upper_8_are_taken():
    grey = np.arange(0, 60_000, 100, dtype=np.uint16).reshape(24, 25)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    np.testing.assert_array_equal(decode(file.getvalue()).rgb, np.repeat((grey >> 8)[..., None], 3, axis=2))


def test_exif_rotation_is_applied_and_said():
    decoded = decode(encoded(turn=TURN_RIGHT))
    assert decoded.turned
    np.testing.assert_array_equal(decoded.rgb, np.rot90(RGB, -1))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not a picture", "no JPEG or PNG"),
        (encoded(form="GIF"), "no JPEG or PNG"),
        (encoded(form="JPEG")[:200], "(?i)truncated"),
        (encoded()[:200], "(?i)truncated"),
        (encoded_blank(6000, "L"), "6000x6000 px are too many"),
        (encoded_blank(15_000, "1"), "too many pixels"),
    ],
)
def test_what_is_no_whole_picture_is_refused_with_its_reason(content, reason):
    with pytest.raises(MediaError, match=reason):
        decode(content)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@given(st.data())
def test_damaged_pictures_are_refused_or_decoded_and_nothing_else(data):
    with suppress(MediaError):
        assert decode(damaged(data.draw(st.sampled_from(DAMAGED)), data)).rgb.shape[2] == 3


def damaged(content, data):
    """Some bytes gone, some others in their place."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    return bytes(changed)


DAMAGED = [encoded(form="JPEG", turn=TURN_RIGHT), encoded(form="JPEG", mode="CMYK"), encoded(), encoded(mode="P")]


# One folder


@given(st.dictionaries(st.integers(0, 14), st.sets(st.sampled_from(("05d", "d", "03d")), min_size=1), max_size=12))
def test_picture_i_plus_1_is_frame_i_whatever_is_missing_or_there_twice(tmp_path_factory, named):
    folder = tmp_path_factory.mktemp("crops")
    for number, forms in named.items():
        for form in forms:
            (folder / f"{number:{form}}.jpg").write_bytes(encoded(np.full((4, 4, 3), number * 10, np.uint8)))
    first = 0 if named and (min(named), max(named)) == (0, 9) else 1
    inside = sorted(number - first for number in named if first <= number < first + 10)
    if not inside:
        with pytest.raises(MediaError, match="no picture of a frame"):
            read(folder)
        return
    pictures, after = read(folder)
    assert list(pictures) == inside == np.flatnonzero(after.present).tolist()
    assert all(picture[0, 0, 0] == (frame + first) * 10 for frame, picture in pictures.items())
    outside = any(not first <= number < first + 10 for number in named)
    assert ("number is no frame" in (after.complaint or "")) == outside
    assert ("counted from 0" in (after.complaint or "")) == (first == 0)
    assert ("one frame early" in (after.complaint or "")) == (0 in named and first == 1)
    several = any(len({f"{number:{form}}" for form in forms}) > 1 for number, forms in named.items())
    assert ("several files" in (after.complaint or "")) == several


def test_of_two_files_for_one_frame_the_official_name_is_used_and_both_are_named(tmp_path):
    write(tmp_path, **{"1.jpg": encoded(np.zeros_like(RGB)), "00001.jpg": encoded(), "2.png": encoded()})
    pictures, after = read(tmp_path)
    np.testing.assert_array_equal(pictures[0], RGB)
    assert "00001.jpg and 1.jpg" in after.complaint


def test_bad_files_cost_their_own_frame_only_and_are_named(tmp_path):
    write(tmp_path, **{f"{number:05d}.png": encoded() for number in range(1, 6)})
    write(tmp_path, **{"00002.png": b"", "00004.png": encoded()[:150], "00012.png": encoded(), "cover.png": encoded()})
    write(tmp_path, **{"00005.png": encoded(turn=TURN_RIGHT), ".00001.png": b"", "notes.txt": b""})
    (tmp_path / "00006.png").mkdir()
    (tmp_path / "00007.png").symlink_to(tmp_path / "nowhere")
    pictures, after = read(tmp_path)
    assert list(pictures) == [0, 2, 4]
    assert "no usable picture: 2 (00002.png: it is empty, 00004.png: " in after.complaint
    assert "no frame of the video: 1 (00012.png)" in after.complaint
    assert "turned upright, as their EXIF asks: 1 (00005.png)" in after.complaint
    assert "no numbered pictures: 2" in after.complaint


def test_numbers_above_99999_simply_grow(tmp_path):
    write(tmp_path, **{"100001.jpg": encoded(), "99999.jpg": encoded()})
    pictures, _ = read(tmp_path, 100_001)
    assert list(pictures) == [99_998, 100_000]


def test_the_digest_is_of_numbers_and_bytes_and_can_be_had_without_decoding(tmp_path):
    write(tmp_path / "a", **{"00001.png": encoded(), "00003.png": b"broken"})
    write(tmp_path / "b", **{"1.png": encoded(), "03.jpg": b"broken", "other.txt": b"x"})
    write(tmp_path / "c", **{"00002.png": encoded(), "00003.png": b"broken"})
    digests = [read(tmp_path / name)[1].digest for name in "abc"]
    assert digests[0] == digests[1] != digests[2]
    lines = (
        f"{number}\0{hashlib.sha256(content).hexdigest()}\n" for number, content in ((1, encoded()), (3, b"broken"))
    )
    assert digests[0] == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert CropPictures(tmp_path / "a", 10).digest_alone() == digests[0]


def test_a_folder_that_counts_from_0_to_its_videos_last_frame_is_the_same_as_one_that_counts_from_1(tmp_path):
    write(tmp_path / "zero", **{"00000.png": encoded(), "00004.png": b"broken", "00009.png": encoded()})
    write(tmp_path / "one", **{"00001.png": encoded(), "00005.png": b"broken", "00010.png": encoded()})
    (zero, from_0), (one, from_1) = read(tmp_path / "zero"), read(tmp_path / "one")
    assert list(zero) == list(one) == [0, 9]
    assert from_0.digest == from_1.digest == CropPictures(tmp_path / "zero", 10).digest_alone()
    assert (from_0.counts_from, from_1.counts_from) == (0, 1)
    _, unsure = read(tmp_path / "zero", 11)
    assert unsure.counts_from == 1
    assert "if the folder counts from 0, every row is one frame early" in unsure.complaint


@pytest.mark.parametrize("first", [0, 1])
def test_the_pictures_of_frames_are_those_that_were_taken_in_wherever_the_folder_begins_to_count(tmp_path, first):
    shades = {frame: np.full((8, 8, 3), 20 * frame, np.uint8) for frame in range(10) if frame != 4}
    write(tmp_path, **{f"{frame + first:05d}.png": encoded(shade) for frame, shade in shades.items()})
    write(tmp_path, **{f"{first}.png": encoded(np.full((8, 8, 3), 255, np.uint8))})
    taken_in, after = read(tmp_path)
    noted = {"location": str(tmp_path), "signature": after.signature, "counts_from": after.counts_from}
    face = Record(Address("face", "cropped", "v", "main"), "", {}, "", (), {}, {}, "", "", noted)
    again = Pictures.of(FaceFrames(face, np.flatnonzero(after.present)), Crop(8))
    assert after.counts_from == first
    assert [picture.tobytes() for picture in again] == [picture.tobytes() for picture in taken_in.values()]


def test_a_folder_without_a_picture_says_why(tmp_path):
    write(tmp_path, **{"00001.jpg": b"", "00011.jpg": encoded()})
    with pytest.raises(MediaError, match=r"holds no picture of a frame.*00001.jpg: it is empty.*00011.jpg"):
        read(tmp_path)


def test_the_signature_changes_with_the_files(tmp_path):
    folder = write(tmp_path / "v_left", **{"00001.png": encoded()})
    (found,) = find_crops("cropped", tmp_path)
    assert (found.name, found.path) == ("v_left", folder)
    assert [found] == list(find_crops("cropped", tmp_path))
    os.utime(folder / "00001.png", ns=(1, 1))
    assert [found] != list(find_crops("cropped", tmp_path))


def test_crop_folders_are_found_in_their_root_one_level_deeper_and_alone(tmp_path):
    for name in ("cropped_aligned/1", "cropped_aligned/2_right", "new/3"):
        write(tmp_path / name, **{"00001.jpg": b"x"})
    (tmp_path / "new" / "4").mkdir()
    (tmp_path / "new" / "list.txt").touch()
    assert [found.name for found in find_crops("c", tmp_path)] == ["1", "2_right", "3", "4"]
    assert [found.name for found in find_crops("c", tmp_path / "new")] == ["3", "4"]
    assert [found.name for found in find_crops("c", tmp_path / "new" / "3")] == ["3"]


@pytest.mark.parametrize("place", ["", "new"])
def test_a_stray_picture_beside_crop_folders_hides_none_of_them_and_is_named(tmp_path, place):
    for name in ("1", "2_right"):
        write(tmp_path / place / name, **{"00001.jpg": b"x"})
    (tmp_path / "empty").mkdir()
    write(tmp_path, **{"1.jpg": b"x"})
    given = gather([], {"c": [str(tmp_path)]})
    assert {folder.name for folder in given.crops} == {"1", "2_right", "empty"}
    assert [(kind.why, kind.files) for kind in given.left_alone] == [
        ("pictures beside the folders of face pictures", (str(tmp_path / "1.jpg"),))
    ]
    alone = gather([], {"c": [str(tmp_path / place / "1")]})
    assert ([folder.name for folder in alone.crops], alone.left_alone) == (["1"], ())


def test_crops_of_one_video_keep_their_place_whatever_pictures_lie_in_a_folder_below_them(tmp_path):
    pictures = {f"{number:05d}.jpg": b"x" for number in range(1, 5)}
    write(tmp_path / "7", **pictures)
    write(tmp_path / "7" / "aligned", **pictures)
    assert [found.name for found in find_crops("c", tmp_path / "7")] == ["7"]
    assert [found.name for found in find_crops("c", tmp_path)] == ["7"]


# Whose face


def crop_face(subject, faces, prominent=False):
    present = np.arange(40) < faces
    attributes = {"frames": 40, "prominent": prominent}
    return Artifact(
        Address("face", "cropped", "v", subject),
        {"s": subject},
        {"present": present},
        attributes,
        made={"faces": faces},
    )


@pytest.mark.parametrize(
    ("held", "meant", "named", "found"),
    [
        (("main", "right"), "main", {"main", "right"}, "main"),
        (("main", "right"), "left", {"left", "right"}, "main"),
        (("left", "right"), "main", {"main", "right"}, "left"),
        (("left", "right"), "main", {"main"}, "right"),
        (("right",), "main", {"main", "right"}, None),
        (("main",), "right", {"main", "right"}, None),
    ],
)
def test_a_crop_folder_is_meant_by_its_name_or_by_the_side_that_it_leaves(tmp_path, held, meant, named, found):
    faces = [crop_face(subject, 10 + len(subject)) for subject in held]
    store = commit(FeatureStore.create(f"memory:{tmp_path.name}"), source("v"), *faces)
    assert face_of(store, Address("face", "cropped", "v", meant), named) == found
    assert face_of(store, Address("face", "mtcnn", "v", meant), named) is None


def experiment(*inputs):
    return HeadRun("e", tuple(Input.parse(text) for text in inputs), replace(EXPR_MLP, name="e"))


def embedding(extractor, subject, seed):
    artifact = visual("v", seed=seed, extractor=extractor)
    return replace(artifact, address=replace(artifact.address, subject=subject))


def test_an_experiment_speaks_of_the_people_of_its_own_faces(tmp_path):
    by_detector = [replace(crop_face(side, 20), address=Address("face", "mtcnn", "v", side)) for side in SIDES]
    by_folder = [crop_face("main", 20), crop_face("right", 20)]
    features = [embedding(DETECTED, side, 1) for side in SIDES]
    features += [embedding(CROPPED, subject, 2) for subject in ("main", "right")]
    store = commit(FeatureStore.create(f"memory:{tmp_path.name}"), source("v"), *by_detector, *by_folder, *features)
    label = Address("label", "expr", "v", "main")
    people = {"main", "right"}
    found = {}
    for inputs in ((DETECTED,), (CROPPED,), (CROPPED, DETECTED), ("wav2vec2_base_960h",)):
        spec = experiment(*inputs)
        subject = subject_of(store, spec, label, people)
        records = features_of(store, "v", subject, spec) or ()
        found[inputs] = subjects_of(store, "v", spec), [record.address.path for record in records]
    assert found == {
        (DETECTED,): (["left", "right"], [f"visual/{DETECTED}/v/left"]),
        (CROPPED,): (["main", "right"], [f"visual/{CROPPED}/v/main"]),
        (CROPPED, DETECTED): (["main", "right"], [f"visual/{CROPPED}/v/main", f"visual/{DETECTED}/v/left"]),
        ("wav2vec2_base_960h",): (["main"], []),
    }


# From files to the store


CLIP = "yes"
DETECTED, CROPPED = "emotieffnet_b0", "emotieffnet_b0@cropped"


def request(url, *sources, crops=None, extractors=(CROPPED,)):
    document = {"store": str(url), "sources": [str(path) for path in sources], "weights": "untrained"}
    document |= {"extractors": extractors, "engine": "torch", "crops": crops or {}}
    return request_of(checked(document, "test"))


def extracted(url, **document):
    """What becomes of every video, without the DAG around it."""
    asked = request(url, **document)
    due, unmatched = due_jobs(asked.context, asked.profile, False, asked.inputs.crops)
    outcomes = [*unmatched, *(extract(asked.context, job, asked.profile) for job in due)]
    FeatureStore(str(url)).commit([outcome.draft for outcome in outcomes if outcome.draft], "test")
    return {outcome.subject: (outcome.status, outcome.reason) for outcome in outcomes}


@pytest.fixture(scope="module")
def both(shared, tmp_path_factory):
    """A store whose faces were found by the detector and then taken from a folder of the same, as lossless pictures."""
    folder = tmp_path_factory.mktemp("crops")
    url = folder / "store"
    clip = shared / "media" / "face_video" / f"{CLIP}.mkv"
    context = request(url, extractors=()).context
    taken = ingest(context, IncomingFile(clip, CLIP, digest_file(clip), "new"))
    FeatureStore(str(url)).commit([taken.draft], "test")
    assert extracted(url, extractors=(DETECTED,))[CLIP][0] == "done"
    store = FeatureStore(str(url))
    face = store.read(Address("face", "mtcnn", CLIP, "main"))
    (folder / "cropped" / CLIP).mkdir(parents=True)
    for i, picture in enumerate(frames(clip, facts_of(store, store.get(Address("source", video=CLIP))))):
        if face["present"][i]:
            Image.fromarray(cut(picture, face["box"][i])).save(folder / "cropped" / CLIP / f"{i + 1:05d}.png")
    outcome = extracted(url, crops={"cropped": [str(folder / "cropped")]})
    assert outcome == {CLIP: ("done", f"cropped, {CROPPED}")}
    return url, folder / "cropped"


@pytest.fixture
def own(both, tmp_path):
    """A store and crops of a test's own."""
    url, crops = both
    shutil.copytree(url, tmp_path / "store")
    shutil.copytree(crops, tmp_path / "cropped")
    return tmp_path / "store", tmp_path / "cropped"


@pytest.mark.slow
def test_lossless_crops_cut_by_stored_boxes_embed_to_the_same_bits(both):
    store = FeatureStore(str(both[0]))
    by_detector, by_folder = (read_video(store, CLIP, name) for name in (DETECTED, CROPPED))
    for name in ("embedding", "logits", "present"):
        np.testing.assert_array_equal(getattr(by_folder, name), getattr(by_detector, name))
    paths = [parent.path for parent in by_folder.record.parents]
    assert paths == [f"face/cropped/{CLIP}/main", f"source/{CLIP}"]


@pytest.mark.slow
def test_the_same_folder_again_is_known_without_reading_a_file(own):
    url, crops = own
    picture = crops / CLIP / "00001.png"
    about = picture.stat()
    picture.write_bytes(bytes(about.st_size))  # whoever read it would see other bytes
    os.utime(picture, ns=(about.st_atime_ns, about.st_mtime_ns))
    cached = {CLIP: ("cached", "all it should have is in the store")}
    assert extracted(url, crops={"cropped": [str(crops)]}) == cached
    assert extracted(url) == cached


@pytest.mark.slow
def test_new_dates_are_noted_and_nothing_is_computed_anew(own):
    url, crops = own
    given = {"cropped": [str(crops)]}
    before = FeatureStore(str(url))
    os.utime(crops / CLIP / "00001.png", ns=(1, 1))
    extracted(url, crops=given)
    assert content_digest(before.newest()) == content_digest(before)
    visual_at = Address("visual", CROPPED, CLIP, "main")
    assert before.newest().get(visual_at).run_id == before.get(visual_at).run_id
    assert extracted(url, crops=given)[CLIP][0] == "cached"


@pytest.mark.slow
def test_a_changed_folder_is_computed_anew_and_bad_files_cost_their_own_frame(own):
    url, crops = own
    given = {"cropped": [str(crops)]}
    before = FeatureStore(str(url))
    write(crops / CLIP, **{"00001.png": encoded(), "00002.png": b"", "00003.png": encoded(mode="L", turn=TURN_RIGHT)})
    shutil.copy(crops / CLIP / "00004.png", crops / CLIP / "4.png")
    shutil.copy(crops / CLIP / "00004.png", crops / CLIP / "00066.png")
    (crops / CLIP / "00005.png").unlink()
    status, reason = extracted(url, crops=given)[CLIP]
    assert status == "done"
    assert all(name in reason for name in ("00002.png: it is empty", "00003.png", "00004.png and 4.png", "00066.png"))
    old, new = (read_video(store, CLIP, CROPPED) for store in (before, before.newest()))
    assert np.flatnonzero(old.present != new.present).tolist() == [1, 4]
    differs = (np.nan_to_num(old.embedding) != np.nan_to_num(new.embedding)).any(axis=1)
    assert np.flatnonzero(differs).tolist() == [0, 1, 2, 4]
    assert read_video(before.newest(), CLIP, DETECTED).record == read_video(before, CLIP, DETECTED).record


@pytest.mark.slow
def test_crops_alone_find_no_faces_and_need_no_video_file(own, tmp_path):
    url, crops = own
    store = FeatureStore(str(url))
    record = store.get(Address("source", video=CLIP))
    arrays, attributes = store.read(record.address), {**record.attributes, "location": str(tmp_path / "gone.mkv")}
    fresh = tmp_path / "fresh"
    commit(FeatureStore.create(str(fresh)), Artifact(record.address, record.recipe, arrays, attributes))
    assert extracted(fresh, crops={"cropped": [str(crops)]}, extractors=()) == {CLIP: ("done", "cropped")}
    assert extracted(fresh)[CLIP] == ("done", CROPPED), "the folder is known from the run before"
    store = FeatureStore(str(fresh))
    assert {address.producer for address in store.addresses("face", "visual")} == {"cropped", CROPPED}
    assert extracted(fresh, extractors=(DETECTED, CROPPED))[CLIP][0] == "failed", "this one needs the video"


@pytest.mark.slow
def test_a_video_without_a_folder_is_not_done_and_a_kind_that_nobody_knows_is_refused(own, capsys):
    url, crops = own
    other = source("other", sha256="a" * 64)
    commit(FeatureStore(str(url)), replace(other, recipe=recipes.source("a" * 64)))
    outcome = extracted(url, crops={"cropped": [str(crops)]})["other"]
    assert outcome == ("failed", "'other' has no folder of cropped faces; give it with --crops cropped=FOLDER.")
    options = ["--store", str(url), "--weights", "untrained", "--engine", "torch"]
    assert call(["plan", *options, "-e", CROPPED]) == 0, "there is nothing that a run could do"
    assert "has no folder" in capsys.readouterr().out
    assert call(["add", str(crops), *options, "-e", "emotieffnet_b0@croped"]) == 2
    assert call(["add", "--crops", f"cropped={crops}", *options, "-e", "emotieffnet_b0@croped"]) == 2
    assert "Known: cropped." in capsys.readouterr().err
    assert call(["add", *options, "--crops", "cropped"]) == 2
    assert call(["add", *options, "--crops", f"mtcnn={crops}"]) == 2
    assert call(["add", *options, "--crops", f"cropped={crops.parent / 'none'}"]) == 2


@pytest.mark.slow
def test_what_cannot_be_used_is_said_and_does_not_cost_the_rest(own, server, capsys):
    url, crops = own
    shutil.copytree(crops / CLIP, crops / "stranger")
    write(crops.parent / "bad" / CLIP, **{"00001.jpg": b"broken"})
    arguments = ["--crops", f"cropped={crops}", "--crops", f"bad={crops.parent / 'bad'}", "--store", str(url)]
    arguments += ["--weights", "untrained", "--engine", "torch", "-e", CROPPED, "-e", "emotieffnet_b0@bad"]
    assert call(["add", *arguments, "--dry-run"]) == 0
    assert "stranger" in capsys.readouterr().out
    assert call(["add", *arguments]) == 3
    shown = " ".join(capsys.readouterr().out.split())
    assert "There is no video called 'stranger'" in shown
    assert "holds no picture of a frame of this video" in shown
    store = FeatureStore(str(url))
    assert read_video(store, CLIP, CROPPED).present.any()
    assert [record.address.producer for record in store.records("quarantine")] == ["crops-bad"]
    assert call(["plan", *arguments]) == 0, "what is refused or belongs to nothing is no work to do"
    assert "quarantined" in capsys.readouterr().out
    write(crops.parent / "bad" / CLIP, **{"00001.jpg": encoded()})
    assert call(["plan", *arguments]) == 10, "another file in it: it is tried again"
    capsys.readouterr()
    assert call(["status", "--store", str(url)]) == 0
    assert "main@cropped 65" in capsys.readouterr().out


def test_faces_that_are_wanted_for_themselves_are_found_in_a_video_without_any_face_network(shared, tmp_path):
    clip = shared / "media" / "face_video" / f"{CLIP}.mkv"
    asked = request(tmp_path / "store", extractors=())
    taken = ingest(asked.context, IncomingFile(clip, CLIP, digest_file(clip), "new"))
    FeatureStore(asked.context.store_url).commit([taken.draft], "test")
    (job,), _ = due_jobs(asked.context, replace(asked.profile, required_faces=("mtcnn",)), False, ())
    outcome = extract(asked.context, job, asked.profile)
    FeatureStore(asked.context.store_url).commit([outcome.draft], "test")
    found = FeatureStore(asked.context.store_url).records("face", video=CLIP)
    assert [(record.address.producer, record.made["faces"] > 0) for record in found] == [("mtcnn", True)]
