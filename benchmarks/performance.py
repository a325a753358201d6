"""Write docs/performance.md: every table of the benchmarks, with the machine it was taken on.

    python benchmarks/performance.py --media CLIPS --peer PYTHON_WITH_EMOTIEFFLIB

Takes an hour or more on two quiet cores. The document is written again after each table, and tables that are not asked
for stay as they are, so that it can be made table by table: `--table seven --table raw`. What could not be measured is
named with its reason, and what the document still lacks at its end. What people wrote below a table goes when that
table is measured again, so `make bench` writes another document.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from affstore.tasks.specs import code_versions

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs/performance.md"
FAILED = "It could not be measured: "
MISSING = "## Missing"
NO_GPU = "There is no GPU"
ABOUT = """\
A *bar* is what we set out to reach. A *bare pass* is the network alone, on pictures or sound in memory. *Reference
weights* are seeded parameters in the published layout, and all other networks here are untrained too: no table on this
page is of trained networks, the face detector excepted. *Films* in the tables are videos.

`make bench MEDIA=FOLDER` measures every table but that of heads side by side (`heads_together.py`, which needs
`--store`), and names what it cannot measure. FOLDER has clips of yours in `face_video/`, for the tables on faces and
engines; those on raw video, small runs and short videos also look for clips of certain names, which stand in these
scripts. `faces.py`, `raw_video.py`, `engines.py` and `sound.py` take `--reference`, a folder of reference weights,
which are not in the repository; without it their networks are untrained. `rehearsal.py`, `gpu.py` and `scoring.py` need
a table of videos' lengths (`--shape`, `--lengths`)."""


@dataclass(frozen=True, slots=True)
class Table:
    """One section of the document.

    Attributes:
        title: its heading.
        words: script and arguments.
        peer: whether it compares with EmotiEffLib.
        rounds: whether it takes `--rounds`.
        media: whether it takes `--media`, a folder of real clips.
    """

    title: str
    words: tuple[str, ...]
    peer: bool = False
    rounds: bool = True
    media: bool = False


_FLOAT32 = ("--engine", "openvino", "--precision", "float32")
_BFLOAT16 = ("--engine", "openvino", "--precision", "bfloat16")
TABLES: Mapping[str, Table] = {
    "bf16": Table(
        "B0 from files to the store, in bfloat16", ("faces.py", "--table", "files", *_BFLOAT16), True, media=True
    ),
    "files": Table(
        "B0 from files to the store, in float32", ("faces.py", "--table", "files", *_FLOAT32), True, media=True
    ),
    "seven": Table("Seven face networks in one pass", ("faces.py", "--table", "seven"), media=True),
    "raw": Table("Raw video: decoding, faces and B0", ("raw_video.py",), media=True),
    "engines": Table("Engines, and how faithful they are", ("engines.py",), media=True),
    "sound": Table("Sound: wav2vec2 base, and five networks in one pass", ("sound.py",), media=True),
    "small": Table("Small runs", ("small_runs.py", "--demo"), media=True),
    "short": Table("Many short videos", ("short_videos.py",), rounds=False, media=True),
    "memory": Table("Memory of a 26-minute video", ("memory.py",), rounds=False),
    "rehearsal": Table("A corpus of Aff-Wild2's shape, on Dask", ("rehearsal.py",), rounds=False),
    "plan": Table("Planning a large store", ("plan.py",)),
    "lineage": Table("trace, impact and diff on large stores", ("lineage.py",)),
    "verify": Table("verify beside plain reading", ("verify.py",)),
    "gpu": Table("On a GPU", ("gpu.py",), media=True),
    "heads": Table("Heads", ("heads.py",), rounds=False),
    "float16": Table("Embeddings in float16", ("float16.py",), rounds=False),
    "scoring": Table("Scoring", ("scoring.py",), rounds=False),
}


def machine() -> str:
    """The processor and its cores."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {platform.system()}"


def measured(table: Table, more: Sequence[str]) -> str:
    """What a benchmark prints, or why it does not."""
    if not (HERE / table.words[0]).is_file():
        return f"{FAILED}there is no benchmarks/{table.words[0]}."
    command = [sys.executable, "-W", "ignore", str(HERE / table.words[0]), *table.words[1:], *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return FAILED + ((done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1])
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines() if line.strip())


def section(table: Table, asked: argparse.Namespace) -> str:
    """Measure a table and put it into words."""
    more = ["--peer", asked.peer] if asked.peer and table.peer else []
    more += ["--rounds", asked.rounds] if asked.rounds and table.rounds else []
    more += ["--media", asked.media] if asked.media and table.media else []
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    said = measured(table, more)
    where = f"`python benchmarks/{' '.join(table.words)}`, {today}, {machine()}:"
    return f"{where}\n\n{said}" if said.startswith((FAILED, NO_GPU)) else f"{where}\n\n```\n{said}\n```"


def sections(document: Path) -> dict[str, str]:
    """What a document holds, by its headings."""
    text = document.read_text(encoding="utf-8") if document.is_file() else ""
    parts = [part.partition("\n") for part in text.split("\n## ")[1:]]
    return {title.strip(): body.strip() for title, _, body in parts}


def lacking(held: Mapping[str, str]) -> list[str]:
    """What the document does not show, each with its reason."""
    found = []
    for name, table in TABLES.items():
        body = held.get(table.title, f"{FAILED}nobody has run `python benchmarks/performance.py --table {name}` yet.")
        said = body.partition("\n\n")[2] or body
        if said.startswith((FAILED, NO_GPU)):
            found.append(f"- {table.title}: {said.removeprefix(FAILED)}")
    return found


def write(document: Path, held: Mapping[str, str]) -> None:
    """The document, its tables in their order; sections of other names stay between them and what is missing."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(code_versions().items()))
    titles = [table.title for table in TABLES.values()]
    others = [title for title in held if title not in titles and f"## {title}" != MISSING]
    parts = [
        "# Performance",
        f"Made by `python benchmarks/performance.py`, each table as dated. Read the ratios. Versions now: {versions}.",
        ABOUT,
        *(f"## {title}\n\n{held[title]}" for title in [*titles, *others] if title in held),
        f"{MISSING}\n\n" + ("\n".join(lacking(held)) or "Nothing."),
    ]
    document.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="Python of an environment that has EmotiEffLib")
    parser.add_argument("--table", choices=TABLES, action="append", help="all of them if none is named")
    parser.add_argument("--rounds", help="of each table")
    parser.add_argument("--media", help="a folder of real clips, in `face_video`, for the tables that need some")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    asked = parser.parse_args(arguments)
    for name in asked.table or TABLES:
        table = TABLES[name]
        said = section(table, asked)
        write(asked.document, sections(asked.document) | {table.title: said})
        print(f"{table.title}: {said.partition(chr(10))[0] if FAILED in said else 'written'}", flush=True)


if __name__ == "__main__":
    main()
