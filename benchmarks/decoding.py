"""Frames, instants and sound of video files beside those that ffprobe and ffmpeg give.

    python benchmarks/decoding.py ../shared/media ../shared/cases/files
    python benchmarks/decoding.py --variants 200 --into variants

Without a file it generates three films a container. One line a file whose frames, instants or beginning of sound
differ, with what the video's complaint says of it; a difference that no complaint explains is marked, and ends the
program with 1. `--all` prints every file. It needs the commands ffmpeg and ffprobe, which the package itself does not.
`--speed FILE` measures how fast frames are decoded by one thread and by as many as FFmpeg would take.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import numpy as np

from affstore.models.media.sound import read_sound
from affstore.models.media.video import VideoFacts, probe
from affstore.store.contract.errors import MediaError

CLOSE_S = 2e-3
SAME_ONSET_S = 0.03

CONTAINERS = {
    "mp4": (("libx264", "libx265", "mpeg4"), ("aac", "libmp3lame")),
    "mov": (("libx264", "mjpeg", "prores"), ("aac", "pcm_s16le")),
    "mkv": (
        ("libx264", "libvpx", "libvpx-vp9", "mpeg4", "ffv1", "mpeg2video"),
        ("aac", "libopus", "flac", "pcm_f32le"),
    ),
    "webm": (("libvpx", "libvpx-vp9"), ("libopus", "libvorbis")),
    "avi": (("libx264", "mpeg4", "mjpeg", "msmpeg4v2"), ("libmp3lame", "pcm_s16le")),
    "flv": (("libx264", "flv"), ("aac", "libmp3lame")),
    "ts": (("libx264", "mpeg2video", "libx265"), ("aac", "mp2", "ac3")),
    "mpg": (("mpeg1video", "mpeg2video"), ("mp2",)),
    "wmv": (("wmv2",), ("wmav2",)),
    "ogv": (("libtheora",), ("libvorbis",)),
    "nut": (("mpeg4", "libx264"), ("pcm_s16le",)),
}
REORDERING = {"libx264", "libx265", "mpeg4", "mpeg1video", "mpeg2video"}
RATES = ("25", "30", "24000/1001", "50")


def ffprobe(path: Path, *asked: str) -> str:
    command = ["ffprobe", "-v", "quiet", "-threads", "1", *asked, f"file:{path}"]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout


def streams(path: Path) -> list[dict]:
    found = ffprobe(path, "-show_streams", "-of", "json")
    return json.loads(found or "{}").get("streams", [])


def instants(path: Path) -> np.ndarray:
    """The best effort timestamp of every frame of the largest video stream, in s; NaN where ffprobe has none."""
    films = [s for s in streams(path) if s["codec_type"] == "video" and not s["disposition"]["attached_pic"]]
    if not films:
        return np.zeros(0)
    index = max(films, key=lambda s: s["width"] * s["height"])["index"]
    rows = ffprobe(
        path, "-select_streams", str(index), "-show_entries", "frame=best_effort_timestamp_time", "-of", "csv=p=0"
    )
    cells = [row.strip(",") for row in rows.split()]
    return np.array([np.nan if cell in ("", "N/A") else float(cell) for cell in cells])


def onset(samples: np.ndarray, rate_hz: int, start_s: float) -> float:
    """When sound first reaches a tenth of its peak, in s; NaN where it is silent."""
    loud = np.flatnonzero(np.abs(samples) > 0.1 * np.abs(samples).max(initial=0))
    return start_s + loud[0] / rate_hz if len(loud) else np.nan


def our_onset(path: Path, facts: VideoFacts) -> float:
    sound = read_sound(path, facts.sound.rate_hz) if facts.sound else None
    return onset(sound.samples, sound.rate_hz, float(sound.start_s)) if sound else np.nan


def ffmpeg_onset(path: Path, facts: VideoFacts) -> float:
    if facts.sound is None:
        return np.nan
    sound, stream = facts.sound, f"0:{facts.sound.stream}"
    first = ffprobe(
        path, "-select_streams", str(sound.stream), "-show_entries", "frame=pts_time", "-of", "csv=p=0",
        "-read_intervals", "%+#8",
    ).split()  # fmt: skip
    command = ["ffmpeg", "-nostdin", "-v", "quiet", "-i", f"file:{path}", "-map", stream, "-f", "f32le",
               "-ac", str(sound.channels), "-ar", str(sound.rate_hz), "-"]  # fmt: skip
    raw = subprocess.run(command, capture_output=True, check=False).stdout
    waves = np.frombuffer(raw[: len(raw) // (4 * sound.channels) * 4 * sound.channels], "<f4")
    channels = waves.reshape(-1, sound.channels)
    mono = channels.mean(axis=1) if sound.channel is None else channels[:, sound.channel]
    start = first[0].strip(",") if first else "N/A"
    return onset(mono, sound.rate_hz, 0.0 if start == "N/A" else float(start))


@dataclass(frozen=True)
class Compared:
    """A file as both see it."""

    path: Path
    theirs: np.ndarray
    ours: np.ndarray
    onsets: tuple[float, float]
    why: str

    @property
    def apart_s(self) -> float:
        """The greatest distance between two instants of one frame."""
        both = min(len(self.ours), len(self.theirs))
        apart = np.abs(self.ours[:both] - self.theirs[:both])
        return float(np.nanmax(apart, initial=0)) if both else 0.0

    @property
    def alike(self) -> bool:
        """Whether nothing differs."""
        first, second = self.onsets
        return (
            len(self.ours) == len(self.theirs)
            and self.apart_s < CLOSE_S
            and (abs(first - second) < SAME_ONSET_S or (np.isnan(first) and np.isnan(second)))
        )

    def row(self) -> str:
        """A line of the table."""
        ends = f"{self.ours[0]:.3f} | {self.ours[-1]:.3f}" if len(self.ours) else "- | -"
        heard = " | ".join("-" if np.isnan(value) else f"{value:.3f}" for value in self.onsets)
        mark = "" if self.alike or self.why else "UNEXPLAINED"
        cells = (self.path.name, len(self.theirs), len(self.ours), ends, f"{self.apart_s:.3f}", heard, self.why or mark)
        return f"| {' | '.join(map(str, cells))} |"


def compared(path: Path) -> Compared:
    theirs = instants(path)
    try:
        facts = probe(path)
    except MediaError as error:
        return Compared(path, theirs, np.zeros(0), (np.nan, np.nan), str(error))
    onsets = (our_onset(path, facts), ffmpeg_onset(path, facts))
    return Compared(path, theirs, facts.clock.starts_s, onsets, facts.complaint or "")


def variants(count: int, folder: Path) -> Iterator[Path]:
    """Films of 1.6 s, of every container and codec, some with late sound, another start, holes, or damage."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        chance = random.Random(number)
        suffix = list(CONTAINERS)[number % len(CONTAINERS)]
        pictures, sounds = CONTAINERS[suffix]
        codec, heard, rate = chance.choice(pictures), chance.choice(sounds), chance.choice(RATES)
        late = chance.choice(("0", "0", "0.4", "-0.3"))
        options = ["-bf", chance.choice("023"), "-g", chance.choice(("12", "50"))] if codec in REORDERING else []
        if chance.random() < 0.25:
            options += ["-vf", "select='lt(n,12)+gt(n,20)'", "-fps_mode", "vfr"]
        if suffix in ("ts", "mkv", "flv") and chance.random() < 0.3:
            options += ["-output_ts_offset", chance.choice(("100", "95443"))]
        hurt = chance.choice(("", "", "", "cut", "bytes", "start"))
        path = folder / f"{number:03d}_{codec}_{heard}{'_' + hurt if hurt else ''}.{suffix}"
        command = [
            "ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=s=160x120:r={rate}:d=1.6",
            "-itsoffset", late, "-f", "lavfi", "-i",
            "aevalsrc=exprs='if(gte(t,0.5),0.5*sin(2*PI*440*t),0)':s=48000:d=1.6",
            "-map", "0:v", "-map", "1:a", "-pix_fmt", "yuvj420p" if codec == "mjpeg" else
            "yuv422p10le" if codec == "prores" else "yuv420p", "-c:v", codec, "-c:a", heard, "-strict", "-2",
            *options, str(path),
        ]  # fmt: skip
        if path.is_file():
            yield path
        elif subprocess.run(command, check=False, capture_output=True).returncode:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(damaged(path.read_bytes(), hurt, chance))
            yield path


def damaged(content: bytes, how: str, chance: random.Random) -> bytes:
    """Content cut short, with bytes inverted in its second half, or without its beginning."""
    if how == "cut":
        return content[: int(len(content) * chance.uniform(0.5, 0.95))]
    if how == "start" and content[:1] == b"\x47":
        return content[188 * chance.randrange(5, 40) :]
    changed = bytearray(content)
    if how == "bytes":
        for _ in range(chance.randrange(1, 12)):
            place = chance.randrange(len(changed) // 2, len(changed) * 9 // 10)
            changed[place] ^= 0xFF
    return bytes(changed)


def speed(path: Path) -> None:
    """Frames a second, and a second of CPU, by one thread and by many."""
    for name, threads, kind in (("one thread", 1, "NONE"), (f"as many as FFmpeg takes of {os.cpu_count()}", 0, "AUTO")):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count, stream.codec_context.thread_type = threads, kind
            wall, cpu = time.perf_counter(), time.process_time()
            count = sum(1 for _ in container.decode(stream))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{path.name}, {name}: {count / wall:.0f} frames/s, {count / cpu:.0f} frames a second of CPU")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--variants", type=int, default=0, help="films to generate")
    parser.add_argument("--into", type=Path, default=Path(tempfile.gettempdir(), "affstore-variants"), help="where to")
    parser.add_argument("--all", action="store_true", help="print the files that are alike too")
    parser.add_argument("--speed", type=Path, help="a film to measure with")
    asked = parser.parse_args()
    if asked.speed:
        speed(asked.speed)
    if not shutil.which("ffprobe") or not shutil.which("ffmpeg"):
        print("This needs the commands ffmpeg and ffprobe; they are not on the PATH.")
        return 0
    av.logging.set_level(None)
    files = [f for path in asked.paths for f in (sorted(path.rglob("*")) if path.is_dir() else [path]) if f.is_file()]
    print("| file | ffprobe | ours | first s | last s | apart s | sound from s | by ffmpeg | why |")
    print("|" + "---|" * 9)
    alike = unexplained = 0
    count = asked.variants or (0 if asked.paths else 3 * len(CONTAINERS))
    for path in chain(files, variants(count, asked.into)):
        found = compared(path)
        alike += found.alike
        unexplained += not found.alike and not found.why
        if asked.all or not found.alike:
            print(found.row(), flush=True)
    print(f"\n{alike} files alike, {unexplained} differences unexplained.")
    return int(unexplained > 0)


if __name__ == "__main__":
    sys.exit(main())
