"""`affstore predict`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.next_steps import again, step, tell_next_of
from affstore.flows.commands.options import (
    DEFAULT_ENGINE,
    DEFAULT_RUNNER,
    DEFAULT_STORE,
    Crops,
    DryRun,
    EngineOptions,
    Json,
    Names,
    RunnerChoice,
    Store,
    answer,
    crops_by_kind,
    print_json,
    print_table,
)
from affstore.flows.watch import to_terminal

if TYPE_CHECKING:
    from affstore.flows.prediction import PredictedSubject

_MOST_LABELS = 4


def predict(
    name: str,
    videos: Annotated[tuple[str, ...], Parameter(negative="", allow_leading_hyphen=False)],
    /,
    *,
    out: Path | None = None,
    store: Store = DEFAULT_STORE,
    crops: Crops = (),
    engine: EngineOptions = DEFAULT_ENGINE,
    runner: RunnerChoice = DEFAULT_RUNNER,
    names: Names = "file",
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Apply an experiment or a head of the store to videos, without training.

    The videos are taken in, and embedded by the very networks that the heads were fitted on; nothing is computed twice.
    An experiment's smoothing, weights and thresholds are those that were tuned for it; an imported head's are those
    that came with it.

    The exit code is 3 when some videos could not be used, or have nothing that the heads need, as a face, and 4 when
    the store has no such experiment or head.

    Example: affstore predict expr-mlp video2 --store affstore-demo/store

    Parameters
    ----------
    name
        An experiment that was scored, NAME@honest for what was tuned under that protocol, or a head, as `affstore head
        list` shows them.
    videos
        Videos, folders or globs; or names of videos that the store has.
    out
        A folder that gets a table a video: a row a frame and subject.
    crops
        KIND=FOLDER of face pictures, for heads that take their faces from such, as for `affstore add`.
    names
        `folder` calls videos by their folders too, so that s1/00001.mp4 and s2/00001.mp4 become s1_00001 and s2_00001.
    """
    from affstore import FeatureStore
    from affstore.flows.commands.running import as_document, run_under_screen, tell
    from affstore.flows.config.run_config import checked
    from affstore.flows.pipeline import named_videos
    from affstore.flows.prediction import predicted, run_with_fitted, split_videos, weights_of, write_predictions
    from affstore.store.engine.places import check_outside
    from affstore.tasks.lineage.stored_heads import fitted_experiment

    if out is not None:
        check_outside(store, out)
    opened = FeatureStore(store)
    fitted = fitted_experiment(opened, name)
    paths, known = split_videos(opened, videos)
    document = {
        "store": store,
        "sources": paths,
        "names": names,
        "crops": crops_by_kind(crops),
        "extractors": tuple(fitted.networks),
        "weights": weights_of([fitted]),
        "runner": runner.spec(),
        **asdict(engine),
    }
    config = checked(document, "predict")
    if dry_run:
        networks = ", ".join(fitted.networks)
        sentence = f"would predict {fitted.space} for {', '.join(videos)} by '{fitted.name}' on {networks}"
        answer({"name": fitted.name, "networks": list(fitted.networks)}, [sentence], json)
        return 0
    result = run_under_screen(json, lambda watcher: run_with_fitted(config, [fitted], known, watcher))
    stored = FeatureStore(store)
    meant = named_videos(stored, result.request, result.outcomes)
    subjects = predicted(stored, fitted, meant)
    tables, unwritten = write_predictions(stored, fitted, meant, out) if out else ([], {})
    lacking = sorted(meant - {one.video for one in subjects})
    exit_code = result.exit_code or (3 if lacking or unwritten else 0)
    if json:
        document = {"predictions": [asdict(one) for one in subjects], "without": lacking, "tables": tables}
        document["unwritten"] = unwritten
        print_json({**as_document(result), **document, "exit_code": exit_code})
    else:
        tell(result)
        _tell(subjects, lacking, tables)
        to_terminal(*(f"'{video}': {reason}" for video, reason in unwritten.items()))
        shown = [step(store, "show", lacking[0])] if lacking else []
        tell_next_of(
            result, [*shown, *([step(store, "trace", f"{tables[0]}:2")] if tables else again("--out", "tables"))]
        )
    return exit_code


def _tell(subjects: list[PredictedSubject], lacking: list[str], tables: list[Path]) -> None:
    rows = [
        (
            one.video,
            one.subject,
            str(one.frames),
            f"{one.present:.0%}",
            ", ".join(f"{label} {number:.2f}" for label, number in list(one.labels.items())[:_MOST_LABELS]),
        )
        for one in subjects
    ]
    if rows:
        to_terminal("")
        print_table(("video", "subject", "frames", "known", "predicted: share of frames, or mean"), rows)
    if lacking:
        to_terminal("", f"No prediction, as nothing that the heads need was found in: {', '.join(lacking)}")
    if tables:
        to_terminal("", f"tables    {len(tables)} in {tables[0].parent}")


COMMANDS.register("predict", Command(predict))
