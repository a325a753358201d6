"""The published weights that affstore knows, read from `registry.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

import yaml

from affstore.store.contract.errors import SpecError, UnknownNameError

TIMM = "timm/"
"""What the names of timm's models, of their weights and of their architectures begin with."""

Format = Literal["torch_module_pickle", "safetensors", "keras_h5_gz"]


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """One published file of parameters.

    Attributes:
        name: what specs and commands call it.
        file: its published file name.
        url: where it is, pinned to a commit; empty for a file that is not public.
        licence: SPDX name, or `none stated`.
        format: how the parameters lie in the file.
        architecture: the network they are of; see `affstore.models.weights.architectures`.
        outputs: columns of the classifier, 0 without one.
        source: where these facts come from.
        git_blob_sha1: git's own digest of the file, or empty.
        sha256: digest of the file, or empty.
        where: of a file that is not public, who has it.
    """

    name: str
    file: str
    url: str
    licence: str
    format: Format
    architecture: str
    outputs: int
    source: str
    git_blob_sha1: str = ""
    sha256: str = ""
    where: str = ""

    @property
    def advice(self) -> str:
        """How a person gets the file, as a sentence."""
        if not self.url:
            return (
                f"The file of '{self.name}', {self.file}, is not public ({self.where}): with a copy of it, type "
                f"`affstore weights import {self.name} FILE`."
            )
        return (
            f"Type `affstore weights pull {self.name}`, or `affstore weights import {self.name} FILE` with {self.file}."
        )


@cache
def entries() -> Mapping[str, WeightsEntry]:
    """Every entry by name.

    Raises:
        SpecError: `registry.yaml` does not say what an entry needs.
    """
    text = files("affstore.models.weights").joinpath("registry.yaml").read_text("utf-8")
    return MappingProxyType({name: _entry(name, fields) for name, fields in yaml.safe_load(text).items()})


def entry_of(name: str) -> WeightsEntry:
    """The entry of that name.

    Raises:
        UnknownNameError: there is none; the message suggests the nearest.
    """
    if name in entries():
        return entries()[name]
    if name.startswith(TIMM):
        return _timm_entry(name)
    raise UnknownNameError.of("weights entry", name, entries())


def _timm_entry(name: str) -> WeightsEntry:
    """The weights of a timm model that timm's own configuration names."""
    from affstore.models.networks.timm_models import configuration_of

    found = configuration_of(name.removeprefix(TIMM))
    hub = str(found.hf_hub_id or "")
    return WeightsEntry(
        name=name,
        file="model.safetensors",
        url=f"https://huggingface.co/{hub}/resolve/main/model.safetensors" if hub else "",
        licence=str(found.license or "none stated"),
        format="safetensors",
        architecture=name,
        outputs=0,
        source=f"the configuration of {name.removeprefix(TIMM)} in timm",
        where="timm names no file for it",
    )


def _entry(name: str, fields: dict[str, str | int]) -> WeightsEntry:
    try:
        return WeightsEntry(name=name, **fields)  # type: ignore[arg-type]
    except TypeError as error:
        raise SpecError(f"The entry '{name}' of registry.yaml is not complete: {error}.") from error
