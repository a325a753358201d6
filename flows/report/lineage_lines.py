"""A trace as lines for a person: a tree for a terminal, or a Mermaid diagram."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from affstore.flows.provenance import marked
from affstore.store.contract.printable import lasting, some
from affstore.tasks.lineage.machine import Machine

if TYPE_CHECKING:
    from affstore.tasks.lineage.trace import Node, Trace

_SHORT = 12
"""Characters of a digest that a person is shown; `--json` has all of them."""


def tree_lines(trace: Trace) -> list[str]:
    """The trace as a tree: what each thing was computed from hangs below it."""
    printed: set[str] = set()
    lines = [*_headline(trace), *_node_lines(trace, trace.root, "", printed), *_code_lines(trace), *_run_lines(trace)]
    if trace.label is not None and trace.label not in printed:
        lines += ["", "what an annotator says of this frame:", *_node_lines(trace, trace.label, "", printed)]
    lines += ["", *trace.gaps] if trace.gaps else ["", "Every step back to the bytes is in this snapshot."]
    return lines


def mermaid_lines(trace: Trace) -> list[str]:
    """The trace as a Mermaid flowchart, from bytes down to the row."""
    names = {name: f"n{place}" for place, name in enumerate(trace.nodes)}
    lines = ["flowchart TD"]
    for name, node in trace.nodes.items():
        text = "<br/>".join(_escaped(part) for part in (_title(node), *_fact_lines(node)[:1], *_done(node)))
        left, right = _SHAPES.get(node.kind, ("[", "]"))
        lines.append(f'    {names[name]}{left}"{text}"{right}')
    for name, node in trace.nodes.items():
        lines += [f"    {names[parent]} --> {names[name]}" for parent in node.parents]
    return lines


_SHAPES = {
    "video": ("[(", ")]"),
    "annotation": ("[(", ")]"),
    "crops": ("[(", ")]"),
    "features": ("[(", ")]"),
    "weights": ("{{", "}}"),
}


def _escaped(text: str) -> str:
    return text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")


def _headline(trace: Trace) -> Iterator[str]:
    published, instant = trace.row.published, trace.instant
    if published is not None:
        whose = f"tag {published.tag}, " if published.tag else ""
        line, state = f"line {published.line} of {published.file}", f"{whose}snapshot {published.snapshot}"
        if published.noted or published.agrees:
            how = "noted beside it" if published.noted else "found by its name and content"
            yield f"{line}, published from {state} ({how})"
        else:
            compared = "" if published.agrees is False else "; its content was not compared"
            yield f"{line}, found in {state} by its place only{compared}"
        yield from (f"  {fault}" for fault in _published_faults(published))
    if instant:
        yield (
            f"frame {instant['number']} (picture {instant['image']}), from {instant['starts_s']:.3f} s to "
            f"{instant['ends_s']:.3f} s, pts {instant['pts']} × {instant['time_base']} s"
        )


def _published_faults(published: Any) -> Iterator[str]:
    if published.unaltered is False:
        yield "the file's bytes are not those that were published: somebody changed it"
    if published.agrees is False:
        yield f"the line says '{published.text}', and the store says otherwise"
    if published.remark:
        yield published.remark


def _code_lines(trace: Trace) -> Iterator[str]:
    """The versions that were recorded of it, and what was computed with others of them."""
    root = trace.nodes[trace.root].facts.get("code", {})
    yield f"code: {', '.join(f'{name} {version}' for name, version in root.items())}"
    for node in trace.nodes.values():
        code = node.facts.get("code", root)
        others = [f"{name} {code[name]}" for name in sorted(root.keys() & code.keys()) if code[name] != root[name]]
        if others:
            yield f"  {node.name} with {', '.join(others)}"


def _run_lines(trace: Trace) -> Iterator[str]:
    """When each run was that wrote something of it, how long it took, and on which machine."""
    unknown = [run_id for run_id, told in trace.runs.items() if told is None]
    if unknown:
        yield f"run {some(unknown)}: no note beside the store says on which machine"
    for run_id, told in trace.runs.items():
        if told is None:
            continue
        took = "not ended" if told["seconds"] is None else f"took {lasting(told['seconds'])}"
        others = "; its tasks ran in other processes, maybe on other machines" if told["other_workers"] else ""
        yield f"run {run_id}: begun {told['began']}, {took}, on {Machine.from_document(told['machine'])}{others}"


def _node_lines(trace: Trace, name: str, indent: str, printed: set[str]) -> Iterator[str]:
    """A node's own lines and those of what it was computed from; a node that stood higher up is only named."""
    node = trace.nodes[name]
    yield _title(node) + (" (see above)" if name in printed else "")
    if name in printed:
        return
    printed.add(name)
    facts = _fact_lines(node)
    yield from (f"{indent}{'│  ' if node.parents else '   '}{fact}" for fact in facts)
    for place, parent in enumerate(node.parents):
        last = place == len(node.parents) - 1
        below = _node_lines(trace, parent, indent + ("   " if last else "│  "), printed)
        yield f"{indent}{'└─ ' if last else '├─ '}{next(below)}"
        yield from below


def _title(node: Node) -> str:
    facts = node.facts
    if node.kind == "weights":
        mark = f" {marked(facts['provenance'])}" if facts["provenance"] else ""
        return f"weights {facts['weights']}, sha256 {facts['sha256'][:_SHORT]}{mark}"
    if node.kind in _KINDS:
        return f"{_KINDS[node.kind]} {facts['location']}, sha256 {facts['sha256'][:_SHORT]}"
    if node.kind == "artifacts":
        splits = ", ".join(f"{count} {split}" for split, count in facts.get("splits", {}).items())
        of = f" of {facts['videos']} videos" if facts["videos"] else ""
        return f"{facts['count']} × {node.name.rsplit(' (', 1)[0]}{of}{f' ({splits})' if splits else ''}"
    return node.name


_KINDS = {
    "video": "video file",
    "annotation": "annotation file",
    "crops": "crop folder",
    "features": "file of features",
}


def _fact_lines(node: Node) -> list[str]:
    """What a person is told of a node below its title."""
    facts = node.facts
    lines = [*_values(facts.get("at_frame", {})), *_done(node)]
    if "key" in facts:
        lines.append(f"key {facts['key'][:_SHORT]}, digest {facts['digest'][:_SHORT]}")
    if "made_at" in facts:
        lines += list(_making(facts))
    if facts.get("committed"):
        lines.append(_committing(facts))
    if facts.get("scores"):
        lines.append(f"scores {facts['scores']['headline']} {facts['scores']['value']:.4f} on its validation frames")
    if node.kind == "video":
        lines.append(f"{facts['bytes']} bytes, {'at hand' if facts['at_hand'] else 'not where it was any more'}")
    if node.kind == "annotation" and facts.get("line"):
        rest = f": '{facts['text']}'" if facts["text"] else "" if facts["at_hand"] else " of the file as it was then"
        lines.append(f"line {facts['line']}{rest}")
    if facts.get("state") == "missing":
        lines.append("not in this snapshot any more")
    changed = facts.get("changed_since", [])
    if changed:
        lines.append(f"{len(changed)} of them changed since the next step was computed: {', '.join(changed[:3])}")
    return lines


def _done(node: Node) -> list[str]:
    """What an experiment did to the outputs of its heads."""
    if "post_processing" not in node.facts:
        return []
    from affstore.tasks.lineage.head_post_processing import lines_behind

    return lines_behind(node.facts["post_processing"])


def _making(facts: Mapping[str, Any]) -> Iterator[str]:
    made = facts["made"]
    how = " ".join(text for word, name in _HOW if made.get(name) for text in (word, str(made[name])) if text)
    yield f"made {facts['made_at']} by run {facts['run_id']} {how} {marked(facts['provenance'])}".rstrip()
    if facts.get("learns_nothing"):
        yield "nothing was fitted: it gives the outputs of its network as they are"
    elif made.get("subjects"):
        people = ", ".join(f"{count} {split}" for split, count in made["subjects"].items())
        yield f"people it was fitted and chosen on: {people}"
    if made.get("corpus"):
        yield f"imported from a file: fitted on {made['corpus']}, licence {made['licence']}"
    if made.get("post_processing"):
        from affstore.tasks.lineage.head_post_processing import lines_of

        yield from (f"came with {line}" for line in lines_of(made["post_processing"]))


def _committing(facts: Mapping[str, Any]) -> str:
    """Which commit an artifact is of, and the state that it was computed from, where that commit says so."""
    commit = facts["committed"]
    word = "computed from" if facts.get("learns_nothing", True) else "trained on"
    if commit["from_snapshot"]:
        return f"committed in snapshot {commit['snapshot']}, {word} snapshot {commit['from_snapshot']}"
    stage = commit["message"].partition(":")[0]
    return (
        f"brought into snapshot {commit['snapshot']} by {_BROUGHT.get(stage, f"the commit '{stage}'")}, which does not "
        f"say which snapshot it was {word}"
    )


_BROUGHT = {
    "rollback": "a rollback",
    "copy": "a copy of another store",
    "promote": "the promotion of a generation",
    "import of a head": "an import",
    "import of features": "an import",
    "repaired": "a repair",
}
"""What brings artifacts that were made before, by the first words of its commit."""

_HOW = (("with", "engine"), ("in", "precision"), ("on", "device"))


def _values(values: Mapping[str, Any]) -> Iterator[str]:
    if "says" in values:
        yield f"says: {values['says']}"
    if "present" in values and not values["present"]:
        yield "nothing is there at this frame itself: filled from its neighbours, or masked"
    if values.get("present") and "box" in values:
        corners = ", ".join(f"{corner:.1f}" for corner in values["box"])
        yield f"face at ({corners}) px, confidence {values['score']:.3f}"
