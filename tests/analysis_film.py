"""A real film whose pictures tell their number, and a store that knows its two faces and what was labelled."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from affstore import FeatureStore
from affstore.models.media.video import probe
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.keys import digest_file
from affstore.store.contract.labels import AU, EXPR, FER_2013, VA
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.analysis.frame_table import AnalysisNetworks
from affstore.tasks.ingest.sources import source_artifact
from tests.factories import commit

FRAMES, SIZE = 40, (160, 120)
PRESENT = {"left": np.arange(FRAMES) < 30, "right": np.ones(FRAMES, bool)}
HAPPY, SAD = "Happiness", "Sadness"
NETWORKS = AnalysisNetworks(expression="faces", affect="faces", heads=("units",))
LOUD_FROM_S, HZ = 1.0, 16_000


def grey(frame):
    """How bright the picture of a frame is."""
    return 20 + 5 * frame


def box_of(subject, frame):
    """A face that moves two px a frame to the right, or stands still."""
    x = 4 + 2 * frame if subject == "left" else 120
    return np.float32([x, 10, x + 24, 50])


def landmarks_of(subject, frame):
    x0, y0, x1, y1 = box_of(subject, frame)
    return np.float32(
        [[x0 + 6, y0 + 12], [x1 - 6, y0 + 12], [(x0 + x1) / 2, y0 + 22], [x0 + 7, y1 - 8], [x1 - 7, y1 - 8]]
    )


def write(path):
    """Frames of 40 and 80 ms by turns, and a sound that is silent for a second."""
    steps = np.where(np.arange(FRAMES) % 2, 80, 40)
    clock = FrameClock(np.append(0, np.cumsum(steps)[:-1]).astype(np.int64), Fraction(1, 1000), int(steps.sum()))
    pictures = [np.full((SIZE[1], SIZE[0], 3), grey(frame), np.uint8) for frame in range(FRAMES)]
    with av.open(str(path), "w") as container:
        # Without frames that are coded out of order, as browsers take their durations from the order of coding.
        film = container.add_stream("libx264", rate=25, options={"crf": "10", "bf": "0"})
        film.width, film.height, film.pix_fmt, film.codec_context.time_base = *SIZE, "yuv420p", clock.time_base
        heard = container.add_stream("aac", rate=HZ, layout="mono")
        for picture, pts in zip(pictures, clock.pts, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = int(pts), clock.time_base
            container.mux(film.encode(frame))
        container.mux(film.encode(None))
        times = np.arange(int(clock.end_s * HZ)) / HZ
        wave = np.where(times < LOUD_FROM_S, 0, 0.5 * np.sin(2 * np.pi * 200 * times)).astype(np.float32)
        sound = av.AudioFrame.from_ndarray(wave[None], "fltp", "mono")
        sound.sample_rate, sound.pts = HZ, 0
        container.mux([*heard.encode(sound), *heard.encode(None)])


def labelled(task, names, value, of, known=None):
    """Labels of a video and subject, known in every frame or in some."""
    known = np.ones(value.shape, bool) if known is None else known
    attributes = {"frames": len(value), "task": task, "labels": list(names), "split": "validation"}
    arrays = {"value": value * known, "known": known}
    address = Address("label", task, *of)
    return Artifact(address, {"of": address.path}, arrays, {**attributes, "location": "", "complaint": None})


def store_of(path, url):
    """The film's store: `left` is gone from frame 30 on, and is labelled; `right` is not."""
    place = FeatureStore.create(url)
    found = [source_artifact("film", path, digest_file(path), probe(path))]
    for subject, present in PRESENT.items():
        mask = present[:, None]
        box = np.stack([box_of(subject, frame) for frame in range(FRAMES)])
        marks = np.stack([landmarks_of(subject, frame) for frame in range(FRAMES)])
        face = {"box": box * mask, "landmark": marks * mask[..., None], "score": present.astype(np.float32)}
        attributes = {"frames": FRAMES, "prominent": subject == "left"}
        found.append(
            Artifact(
                Address("face", "mtcnn", "film", subject), {"of": subject}, {**face, "present": present}, attributes
            )
        )
        logits = np.zeros((FRAMES, len(FER_2013)), np.float32)
        logits[:20, FER_2013.names.index(HAPPY)] = 4
        logits[20:, FER_2013.names.index(SAD)] = 4
        affect = np.tile(np.float32([0.5, -0.25]), (FRAMES, 1))
        arrays = {"embedding": np.ones((FRAMES, 3), np.float32), "logits": logits, "valence_arousal": affect}
        found.append(
            Artifact(
                Address("visual", "faces", "film", subject),
                {"network": subject},
                {**{name: values * mask for name, values in arrays.items()}, "present": present},
                {"frames": FRAMES, "classes": list(FER_2013.names)},
                made={"provenance": "published"},
            )
        )
    return commit(place, *found, _units(), *_labels())


def _units():
    """A head that sees AU12 in every frame of `left`, and nothing else."""
    says = np.tile((np.array(AU.names) == "AU12").astype(np.int8), (FRAMES, 1))
    raw = says.astype(np.float32) * 0.75
    arrays = {"raw": raw, "smoothed": raw, "prediction": says, "present": PRESENT["left"]}
    attributes = {"frames": FRAMES, "task": "au", "labels": list(AU.names)}
    return Artifact(Address("prediction", "units", "film", "left"), {"head": 1}, arrays, attributes)


def _labels():
    """Happiness in frames 0 to 9, then Sadness, Other from frame 28 on; frames 2 and 3 are not known."""
    of = ("film", "left")
    classes = np.full((FRAMES, 1), EXPR.names.index(SAD), np.int8)
    classes[:10], classes[28:] = EXPR.names.index(HAPPY), EXPR.names.index("Other")
    known = ~np.isin(np.arange(FRAMES), (2, 3))[:, None]
    yield labelled("expr", EXPR.names, classes, of, known)
    units = np.zeros((FRAMES, len(AU)), np.int8)
    units[15:, AU.names.index("AU12")] = 1
    yield labelled("au", AU.names, units, of)
    values = np.tile(np.float32([0.5, -0.25]), (FRAMES, 1))
    values[7, 0], values[25, 0] = -0.5, 1.0
    yield labelled("va", VA.names, values, of)
