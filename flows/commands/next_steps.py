"""What to type next, as the last lines of a command that a person reads."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from affstore.flows.config.defaults import DEFAULT_STORE
from affstore.flows.watch import to_terminal
from affstore.tasks.lineage.run_note import typed_words

if TYPE_CHECKING:
    from affstore import FeatureStore
    from affstore.flows.request import RunResult
    from affstore.tasks.specs import WorkerContext

_MOST = 2


def again(*more: str) -> list[str]:
    """The command that runs now, with more words at its end; nothing where none was typed.

    A deadline is left out, for it may be over.
    """
    words = list(typed_words())
    if not words:
        return []
    while "--deadline" in words:
        at = words.index("--deadline")
        del words[at : at + 2]
    return [_command([word for word in words if not word.startswith("--deadline=")] + list(more))]


def step(store: str, *words: str) -> str:
    """A command on a store, which is named only where the command would take another without it.

    Args:
        store: its address.
        words: what is typed after `affstore`.
    """
    usual = os.environ.get("AFFSTORE_STORE") or DEFAULT_STORE
    return _command([*words, *([] if store == usual else ["--store", store])])


def _command(words: Sequence[str]) -> str:
    return shlex.join(["affstore", *words])


def tell_next(steps: Sequence[str]) -> None:
    """Print the first of these commands, each once."""
    to_terminal(*(f"next      {one}" for one in list(dict.fromkeys(steps))[:_MOST]))


def tell_next_of(result: RunResult, steps: Sequence[str]) -> None:
    """Print what to type after a run: what goes on with it or says what went wrong first.

    Args:
        result: the run.
        steps: what to type after one that went well.
    """
    store = result.request.context.store_url
    goes_on = result.partial or result.count("failed", stages=("ingest", "annotate", "extract"))
    first = again() if goes_on else []
    if result.count("quarantined"):
        first.append(step(store, "quarantine", "list"))
    tell_next([*first, *steps])


def promotion_steps(context: WorkerContext) -> list[str]:
    """How a generation is compared with what readers see, and how they come to see it, once it holds anything."""
    from affstore import FeatureStore
    from affstore.store.engine.generations import open_generation

    if not open_generation(FeatureStore(context.store_url), context.generation).since:
        return [step(context.store_url, "generation", "list")]
    compared = step(context.store_url, "diff", "--at", context.generation)
    return [compared, step(context.store_url, "generation", "promote", context.generation)]


def applies(store: FeatureStore, names: Sequence[str]) -> list[str]:
    """How the first of some experiments that can be applied is applied to a video."""
    from affstore.store.contract.errors import AffstoreError
    from affstore.tasks.lineage.stored_heads import fitted_experiment

    for name in names:
        try:
            fitted_experiment(store, name)
        except AffstoreError:
            continue
        return [step(store.url, "predict", name, "VIDEO")]
    return []
