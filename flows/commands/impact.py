"""`affstore impact`."""

from __future__ import annotations

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, At, Json, Store, print_json, print_table
from affstore.flows.watch import to_terminal


def impact(what: str, /, *, store: Store = DEFAULT_STORE, at: At = None, json: Json = False) -> int:
    """Find every artifact and publication that stands on weights, a video, an annotation, a package, a commit or a run.

    The exit code is 2 when a name stands for several things, which are named, and 4 when nothing in the store stands on
    anything called so.

    Example: affstore impact enet_b0_8_best_vgaf --store affstore-demo/store

    Parameters
    ----------
    what
        Name or SHA-256 of weights (8 letters of a digest are enough); a video by name, alias, file or digest; an
        annotation file; PACKAGE==VERSION; the git commit of the affstore that computed (8 letters are enough); a run; a
        snapshot or tag, for what its commit wrote; an extractor, a head or an experiment, alone or as FAMILY/NAME; or
        an artifact's path.
    """
    from affstore import FeatureStore
    from affstore.tasks.lineage.impact import counts_of
    from affstore.tasks.lineage.impact import impact as found_impact

    found = found_impact(FeatureStore(store, at), what)
    if json:
        print_json(found.as_document())
        return 0
    rows = [
        (place.family, place.producer, str(artifacts), str(videos or ""))
        for place, (artifacts, videos) in counts_of(found.artifacts).items()
    ]
    direct = f"{len(found.direct)} of them directly"
    title = f"{len(found.artifacts)} artifacts stand on the {found.kind} '{what}', {direct}"
    print_table(("family", "by", "artifacts", "videos"), rows, title)
    for one in found.publications:
        experiments = f", with predictions or results of {', '.join(one.experiments)}" if one.experiments else ""
        to_terminal(f"tag {one.tag} (snapshot {one.snapshot}) holds {one.artifacts} such artifacts{experiments}")
    if not found.publications:
        to_terminal("no tagged snapshot holds any of them")
    return 0


COMMANDS.register("impact", Command(impact))
