"""Which face detector: recall and precision on labelled photographs, processor time a frame, presence along videos.

Run `python benchmarks/face_detectors.py --media ../shared/media`. Photographs without labelled boxes are scored by
their number of faces: as many detections as there are faces count as found, the rest as false.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from affstore.models.faces.boxes import iou
from affstore.models.faces.detector import FaceDetector
from affstore.models.faces.finder import FaceFinder
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.faces.tracking import FaceTrack, FaceTracker

Picture = NDArray[np.uint8]
Boxes = NDArray[np.float32]
Find = Callable[[Picture], Boxes]

SAME_FACE_IOU = 0.5
TIMED_CLIPS = ("carphone_pristine.mp4", "WolfgangLanger_Pexels.mp4", "1.mp4", "demo1_video.mp4", "video.mp4")


def mtcnn(**changes: object) -> Find:
    detector = FaceDetector(replace(DetectorSpec(), **changes))
    return lambda picture: detector.detect(picture).box


def haar(name: str) -> Find:
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + name)

    def find(picture: Picture) -> Boxes:
        side = smallest_px(picture)
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return corners([tuple(box) for box in cascade.detectMultiScale(grey, 1.1, 5, minSize=(side, side))])

    return find


def lbp() -> Find:
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    cascade = Cascade(lbp_frontal_face_cascade_filename())

    def find(picture: Picture) -> Boxes:
        low, high = smallest_px(picture), min(picture.shape[:2])
        found = cascade.detect_multi_scale(picture, 1.2, 1, (low, low), (high, high))
        return corners([(face["c"], face["r"], face["width"], face["height"]) for face in found])

    return find


def smallest_px(picture: Picture) -> int:
    spec = DetectorSpec()
    return int(max(spec.smallest_px, spec.smallest_share * min(picture.shape[:2])))


def corners(left_top_width_height: list[tuple[float, ...]]) -> Boxes:
    boxes = np.array(left_top_width_height, np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def labelled_photos(media: Path) -> Iterator[tuple[Path, int, Boxes | None]]:
    """Each photograph with its number of faces and, where somebody drew them, their boxes."""
    for entry in json.loads((media / "manifest.json").read_text()):
        path = media / entry["file"]
        if entry["category"] == "photo" and path.suffix in (".jpg", ".png") and path.name != "truncated.jpg":
            yield path, int(entry["faces"].split()[0]), drawn_boxes(path)


def drawn_boxes(photo: Path) -> Boxes | None:
    """Boxes from dlib's landmark file beside the photograph, or from its own XMP face regions."""
    landmarks = ElementTree.parse(photo.with_name("testing_with_face_landmarks.xml")).getroot()
    for image in landmarks.iter("image"):
        if image.get("file") == photo.name:
            return corners([tuple(float(b.get(k, 0)) for k in ("left", "top", "width", "height")) for b in image])
    pattern = r'stArea:x="([\d.]+)" stArea:y="([\d.]+)" stArea:w="([\d.]+)" stArea:h="([\d.]+)"'
    areas = np.array(re.findall(pattern, photo.read_bytes().decode("latin-1")), np.float32)
    if not len(areas):
        return None
    width, height = Image.open(photo).size
    areas *= np.array([width, height, width, height], np.float32)
    return corners([(x - w / 2, y - h / 2, w, h) for x, y, w, h in areas])


def score(found: Boxes, faces: int, drawn: Boxes | None) -> tuple[int, int]:
    """How many faces were found, and how many boxes are false."""
    hits = min(len(found), faces) if drawn is None else int((iou(drawn, found) >= SAME_FACE_IOU).any(axis=1).sum())
    return hits, len(found) - hits


def frames(clip: Path, step: int = 1, most: int | None = None) -> list[Picture]:
    pictures: list[Picture] = []
    with av.open(str(clip)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % step == 0:
                pictures.append(frame.to_ndarray(format="rgb24"))
            if most and len(pictures) == most:
                break
    return pictures


def median_ms(find: Find, pictures: list[Picture]) -> float:
    find(pictures[0])
    spent = []
    for picture in pictures:
        began = time.process_time()
        find(picture)
        spent.append(time.process_time() - began)
    return 1000 * float(np.median(spent))


def compare_detectors(media: Path) -> None:
    finders: dict[str, Find] = {
        "MTCNN, smallest face 5 %": mtcnn(smallest_share=0.05),
        "MTCNN, smallest face 8 % (default)": mtcnn(),
        "MTCNN, smallest face 12 %": mtcnn(smallest_share=0.12),
        "MTCNN, 8 %, O-Net 0.7": mtcnn(thresholds=(0.6, 0.7, 0.7)),
        "OpenCV Haar, frontal default": haar("haarcascade_frontalface_default.xml"),
        "OpenCV Haar, frontal alt2": haar("haarcascade_frontalface_alt2.xml"),
        "skimage LBP": lbp(),
    }
    photos = list(labelled_photos(media))
    clips = {name: frames(media / "face_video" / name, 8, 8) for name in TIMED_CLIPS}
    print(f"| detector | found of {sum(p[1] for p in photos)} | false | recall | precision |", end="")
    print("".join(f" {name.split('.')[0]} {c[0].shape[1]}×{c[0].shape[0]} ms |" for name, c in clips.items()))
    print("|---" * (5 + len(clips)) + "|")
    for name, find in finders.items():
        scores = [score(find(np.array(Image.open(p).convert("RGB"))), n, drawn) for p, n, drawn in photos]
        hits, false = np.sum(scores, axis=0)
        line = f"| {name} | {hits} | {false} | {hits / sum(p[1] for p in photos):.2f} | {hits / (hits + false):.2f} |"
        print(line + "".join(f" {median_ms(find, pictures):.0f} |" for pictures in clips.values()), flush=True)


def follow(detector: FaceDetector, pictures: list[Picture]) -> tuple[dict[str, FaceTrack], float]:
    """The subjects of a video, and the mean processor milliseconds a frame that finding the faces took."""
    finder, tracker, spent = FaceFinder(detector), FaceTracker(TrackingSpec()), 0.0
    for index, picture in enumerate(pictures):
        began = time.process_time()
        found = finder.update(picture)
        spent += time.process_time() - began
        tracker.update(index, found)
    tracks = {n: tracker.face_track(t, len(pictures)) for n, t in tracker.subjects().tracks.items()}
    return tracks, 1000 * spent / len(pictures)


def compare_following(media: Path) -> None:
    """Searching every frame against following faces between searches."""
    followed = FaceDetector(DetectorSpec())
    searched = FaceDetector(replace(DetectorSpec(), redetect_frames=1))
    print("| clip | frames | present, searched | present, followed | IoU mean | IoU 5 % | searched ms | followed ms |")
    print("|---" * 8 + "|")
    for clip in sorted((media / "face_video").iterdir()):
        pictures = frames(clip, most=250)
        (every, slow), (some, fast) = follow(searched, pictures), follow(followed, pictures)
        overlap = [np.nan]
        if every.keys() == some.keys() == {"main"}:
            both = every["main"].present & some["main"].present
            pairs = zip(every["main"].box[both], some["main"].box[both], strict=True)
            overlap = [float(iou(a[None], b[None])[0, 0]) for a, b in pairs] or [np.nan]
        shown = [", ".join(f"{n} {int(t.present.sum())}" for n, t in tracks.items()) for tracks in (every, some)]
        figures = f"{np.mean(overlap):.3f} | {np.quantile(overlap, 0.05):.3f} | {slow:.1f} | {fast:.1f}"
        print(f"| {clip.name} | {len(pictures)} | {shown[0]} | {shown[1]} | {figures} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=Path, required=True, help="folder with photo/, face_video/ and manifest.json")
    media = parser.parse_args().media
    # One thread and its processor time: figures that another load on the machine disturbs least.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    compare_detectors(media)
    print()
    compare_following(media)


if __name__ == "__main__":
    main()
