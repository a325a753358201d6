"""Which files are taken for videos, what other files are, and what would take them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from affstore.store.contract.names import VIDEO_SUFFIXES

_RARE_VIDEO_SUFFIXES = (
    ".asf", ".divx", ".dv", ".f4v", ".m2v", ".mjpeg", ".mpe", ".mxf", ".ogm", ".qt", ".rm", ".rmvb", ".vob", ".y4m",
)  # fmt: skip
_SOUND_SUFFIXES = (".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav", ".wma", ".wv")

_LABELS = (
    "As labels, Aff-Wild2's own files are read from their folders, EXPR_Recognition_Challenge/Train_Set/VIDEO.txt and "
    "the like, and others by `labels` in a configuration: {folder: FOLDER, format: timed_table, space: NAME}"
)
_PICTURES = "Pictures of faces are taken by folders: --crops KIND=FOLDER with FOLDER/VIDEO/00001.jpg"
_NOTHING = "No command of affstore takes it"

_KINDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    ((".csv", ".tsv", ".xls", ".xlsx", ".parquet", ".arff", ".mat"), "a table", _LABELS),
    ((".textgrid",), "an annotation by Praat", _LABELS),
    ((".eaf", ".etf", ".pfsx"), "an annotation by ELAN", _LABELS),
    ((".srt", ".vtt", ".ass", ".rttm", ".json", ".xml", ".npy", ".npz", ".pkl", ".h5", ".hdf5"), "data", _LABELS),
    ((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp", ".avif"), "a picture", _PICTURES),
    ((".yaml", ".yml"), "a configuration", "`affstore run FILE` takes it"),
    (
        (".pt", ".pth", ".ckpt", ".onnx", ".safetensors", ".bin"),
        "a file of weights",
        "`affstore weights import NETWORK FILE` takes it",
    ),
    ((".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst"), "an archive", "Unpack it first"),
)
_SNIFFED_BYTES = 4096


def is_video_by_name(name: str) -> bool:
    """Whether a folder's file is taken for a video."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def why_left_alone(name: str) -> str:
    """Why a file is not taken in when its folder is searched."""
    suffix = Path(name).suffix.lower()
    if suffix in _RARE_VIDEO_SUFFIXES:
        return "may be videos, but are not looked for in folders; name them to take them in"
    if suffix in _SOUND_SUFFIXES:
        return "sounds without pictures"
    if not suffix:
        return "no suffix; name them to take them in if they are videos"
    return "no videos"


def fault_of_named(path: Path) -> str | None:
    """Why a file that the user names cannot be taken in as a video, and what would take it; None where it may be one.

    Only its name, its kind and, without a video's suffix, its first bytes are looked at.
    """
    try:
        kind = os.stat(path)
    except OSError as error:
        if path.is_symlink():
            return f"is a link to '{os.readlink(path)}', which cannot be followed: {error.strerror}. Mend the link"
        return f"cannot be read: {error.strerror}. Check its rights"
    if not stat.S_ISREG(kind.st_mode):
        return "is a pipe, a socket or a device, not a file. Save what it carries as a file first"
    suffix = path.suffix.lower()
    for suffixes, what, advice in _KINDS:
        if suffix in suffixes:
            return f"is {what}, not a video. {advice}"
    if suffix not in (*VIDEO_SUFFIXES, *_RARE_VIDEO_SUFFIXES, *_SOUND_SUFFIXES) and _is_text(path):
        return f"is text, not a video. {_LABELS if suffix == '.txt' else _NOTHING}"
    return None


def _is_text(path: Path) -> bool:
    """Whether a file begins as text does; one that is empty or cannot be read does not."""
    try:
        with path.open("rb") as file:
            start = file.read(_SNIFFED_BYTES)
        text = start.decode("utf-8", "strict" if len(start) < _SNIFFED_BYTES else "ignore")
    except (OSError, UnicodeDecodeError):
        return False
    return (
        bool(text) and len(text) > len(start) // 2 and not any(ord(c) < ord(" ") and c not in "\t\n\r\f" for c in text)
    )
