"""What is known of one published file of parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from affstore.models.weights.architectures import Architecture
from affstore.models.weights.wheel import Wheel

Format = Literal["torch_module_pickle", "safetensors", "keras_h5", "keras_h5_gz"]


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """One published file of parameters; an extractor brings the entry of its own.

    Attributes:
        name: what specs and commands call it.
        architecture: the network they are of; None for an extractor that runs with untrained parameters alone.
        outputs: columns of the classifier, 0 without one.
        file: its published file name.
        url: where it is, pinned to a commit, so that the bytes behind it cannot change; empty for a file that is not
            public, or lies in a wheel.
        licence: SPDX name, or `none stated`.
        format: how the parameters lie in the file: a module, state dict or checkpoint saved by torch.save, read without
            running it; safetensors; or what Keras writes to HDF5, plain or under gzip.
        source: where these facts come from.
        git_blob_sha1: git's own digest of the file, SHA-1 of `blob <size>`, a zero byte and the content, or empty.
        sha256: digest of the file, or empty.
        where: of a file that is not public, who has it.
        wheel: where in the package index the file is; None where it is not there.
    """

    name: str
    architecture: Architecture | None = None
    outputs: int = 0
    file: str = "model.safetensors"
    url: str = ""
    licence: str = "none stated"
    format: Format = "safetensors"
    source: str = ""
    git_blob_sha1: str = ""
    sha256: str = ""
    where: str = "nobody has published one"
    wheel: Wheel | None = None

    @property
    def public(self) -> str:
        """Where anyone can fetch the file; empty where nobody can."""
        return self.url or (str(self.wheel) if self.wheel else "")

    @property
    def advice(self) -> str:
        """How a person gets the file, as a sentence."""
        if self.architecture is None:
            return f"There are no trained parameters for '{self.name}' ({self.where})."
        if not self.public:
            return (
                f"The file of '{self.name}', {self.file}, is not public ({self.where}): with a copy of it, type "
                f"`affstore weights import {self.name} FILE`."
            )
        return (
            f"Type `affstore weights pull {self.name}`, or `affstore weights import {self.name} FILE` with {self.file}."
        )
