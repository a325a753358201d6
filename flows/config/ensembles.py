"""The ensemble that an experiment describes: a head, or blends and rules of ensembles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from affstore.flows.config.heads import HeadConfig, head_run_of
from affstore.flows.field_checks import Place, checked
from affstore.models.ensembles.spec import (
    Blend,
    ConfidenceGate,
    Ensemble,
    HeadOutput,
    SearchedValue,
    TwoStageOther,
    TwoStageVariant,
)
from affstore.store.contract.labels import SpaceKind, Task, task_space
from affstore.tasks.specs import HeadRun

METHODS = ("head", "blend", "threshold_blend", "other_step")

Heads = dict[str, HeadRun]
"""By name: what the ensembles read so far are made of."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Strict(BaseModel):
    """Unknown fields are mistakes, and so are values of another kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def alone(value: Any) -> Any:
    """A number by itself is taken as it is: nothing else is tried."""
    return value if isinstance(value, Mapping) else {"value": value, "grid": (value,)}


class _Share(Strict):
    """A weight or threshold: the papers' choice, and what else is tried where it is searched."""

    value: Share | None = None
    grid: tuple[Share, ...] = Field(min_length=1)

    def tunable(self) -> SearchedValue:
        """As the search takes it."""
        return SearchedValue(self.value, self.grid)


ShareField = Annotated[_Share, BeforeValidator(alone)]


class _BlendConfig(Strict):
    """See `affstore.models.ensembles.spec.Blend`."""

    first: dict[str, Any]
    second: dict[str, Any]
    weight: ShareField


class _ConfidenceGateConfig(Strict):
    """See `affstore.models.ensembles.spec.ConfidenceGate`."""

    pretrained: dict[str, Any]
    otherwise: dict[str, Any]
    threshold: ShareField


class _TwoStageOtherConfig(Strict):
    """See `affstore.models.ensembles.spec.TwoStageOther`."""

    decides: dict[str, Any]
    elsewhere: dict[str, Any]
    where_other: dict[str, Any] | None = None
    variant: TwoStageVariant = "eight_before_smoothing"


def ensemble_of(value: Mapping[str, Any], task: Task, place: Place, heads: Heads) -> Ensemble:
    """An ensemble and everything in it; a head without a kind is an `mlp`.

    Args:
        value: exactly one of `METHODS`, as the file has it.
        task: the experiment's.
        place: where the file has it.
        heads: gets the heads of the ensemble.

    Raises:
        SpecError: something in it is wrong; the message names file and field.
    """
    if "inputs" in value:
        value = {"head": "mlp", **value}
    kinds = [kind for kind in METHODS if kind in value]
    if len(kinds) != 1 or (kinds != ["head"] and len(value) > 1):
        found = " and ".join(map(str, value)) or "nothing"
        raise place.wrong(f"a method is exactly one of {', '.join(METHODS)}; found {found}.")
    if kinds == ["head"]:
        head = head_run_of(checked(HeadConfig, dict(value), place, "head"), task, place)
        heads[head.name] = head
        return HeadOutput(head.name)
    return _joined(kinds[0], value[kinds[0]], task, place, heads)


def _joined(kind: str, fields: Any, task: Task, place: Place, heads: Heads) -> Ensemble:
    """Two ensembles made one."""
    at = place.at(kind)

    def part(config: Strict, name: str) -> Ensemble:
        return ensemble_of(getattr(config, name), task, at.at(name), heads)

    if kind == "blend":
        blend = checked(_BlendConfig, fields, at, kind)
        return Blend(part(blend, "first"), part(blend, "second"), blend.weight.tunable())
    if task_space(task).kind is not SpaceKind.CLASSES:
        raise at.wrong(f"it decides between expressions, and the experiment's task is '{task}'.")
    if kind == "threshold_blend":
        rule = checked(_ConfidenceGateConfig, fields, at, kind)
        return ConfidenceGate(part(rule, "pretrained"), part(rule, "otherwise"), rule.threshold.tunable())
    step = checked(_TwoStageOtherConfig, fields, at, kind)
    decides = part(step, "decides")
    where_other = None if step.where_other is None else part(step, "where_other")
    return TwoStageOther(decides, part(step, "elsewhere"), where_other, step.variant)
