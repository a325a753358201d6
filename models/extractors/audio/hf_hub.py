"""An audio encoder described by a folder in transformers' format, and by measuring it.

Nothing in such a folder is run: the two configurations are read as data for classes of transformers' own, and the
parameters by the readers of `affstore.models.weights.untrusted`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from affstore.models.extractors.audio.hf_clock import Clock, measured
from affstore.models.extractors.audio.hf_networks import ENCODERS, class_of, feature_extractor, network_of, settings_of
from affstore.models.weights.architectures import Architecture
from affstore.models.weights.download import download
from affstore.models.weights.entry import WeightsEntry
from affstore.models.weights.records import writing_to
from affstore.models.weights.untrained import draw, unit_weight_norms
from affstore.store.contract.errors import ArchitectureError, SpecError, WeightsError, WeightsMissingError
from affstore.store.contract.files import write_text
from affstore.store.contract.printable import some

if TYPE_CHECKING:
    import torch

PREFIX = "hf-audio/"

_NAME = re.compile(r"hf-audio/[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_POINTER = re.compile(r"oid sha256:([0-9a-f]{64})")
_LICENCE = re.compile(r"^license:\s*[\"']?([\w.+-]+)", re.MULTILINE)
_MOST_JSON_BYTES = 1 << 20

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHT_FILES: Mapping[str, Literal["safetensors", "torch_module_pickle"]] = {
    "model.safetensors": "safetensors",
    "pytorch_model.bin": "torch_module_pickle",
}


_NO_NUMBER_DEPENDS_ON = (
    *("_name_or_path", "architectures", "auto_map", "dtype", "id2label", "label2id", "torch_dtype"),
    *("transformers_version", "processor_class", "feature_extractor_type", "task_specific_params", "tokenizer_class"),
)
_ONLY_IN_TRAINING = {"apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}


@dataclass(frozen=True, slots=True)
class HubModel:
    """An audio encoder as its folder describes it.

    Attributes:
        name: `hf-audio/ORG/NAME`.
        config: what decides numbers of `config.json`, as JSON.
        preprocessor: the same of `preprocessor_config.json`.
        rate_hz: sample rate that the encoder hears.
        width: length of a hidden state.
        layers: of its transformer.
        clock: its steps.
        file: of the parameters, in the folder.
        url: where it is, pinned to a commit; empty for a folder on this machine.
        sha256: published digest of the file, or empty.
        licence: SPDX name, or `none stated`.
    """

    name: str
    config: str
    preprocessor: str
    rate_hz: int
    width: int
    layers: int
    clock: Clock
    file: str = "model.safetensors"
    url: str = ""
    sha256: str = ""
    licence: str = "none stated"

    @property
    def entry(self) -> WeightsEntry:
        """What is known of its parameters."""
        return WeightsEntry(
            self.name,
            architecture_of(self.name, self.config),
            file=self.file,
            url=self.url,
            licence=self.licence,
            format=WEIGHT_FILES[self.file],
            source="the model's own folder",
            sha256=self.sha256,
            where="it is known from a folder on this machine",
        )


def read_folder(name: str, folder: Path, weightless: bool = False) -> tuple[HubModel, Path | None]:
    """The model that a folder of transformers' format holds, and the file of its parameters.

    Args:
        name: `hf-audio/ORG/NAME`.
        folder: with `config.json`, `preprocessor_config.json` and the parameters.
        weightless: take a folder without parameters.

    Raises:
        SpecError: it holds no audio encoder that affstore can run, or the name is none.
        WeightsMissingError: it holds no parameters.
    """
    check_name(name)
    if not folder.is_dir():
        raise WeightsMissingError(f"There is no folder '{folder}' to import '{name}' from. Check the path.")
    found = [file for file in WEIGHT_FILES if (folder / file).is_file()]
    if not (found or weightless):
        raise _no_weights(name, f"The folder '{folder}'", (folder / "model.safetensors.index.json").is_file())
    texts = {file: _text(folder / file) for file in (CONFIG, PREPROCESSOR)}
    card = folder / "README.md"
    model = described(name, texts[CONFIG], texts[PREPROCESSOR])
    licence = licence_in(card.read_text("utf-8", "replace")) if card.is_file() else model.licence
    return replace(model, licence=licence, file=found[0] if found else model.file), folder / found[0] if found else None


def read_hub(name: str, revision: str, scratch: Path) -> HubModel:
    """The model that the hub holds at a commit; its small files are fetched, its parameters are not.

    Args:
        name: `hf-audio/ORG/NAME`.
        revision: a commit in full, which fixes every byte.
        scratch: folder for the small files while they come.

    Raises:
        SpecError: the revision is no commit, or the model is none that affstore can run.
        WeightsMissingError: the repository holds no parameters.
        WeightsError: the hub does not answer.
    """
    check_name(name)
    if not _COMMIT.fullmatch(revision):
        raise SpecError(
            f"`--revision` takes a commit in full, 40 digits, so that the bytes behind it cannot change; found "
            f"'{revision}'. The hub shows it under 'Files and versions'."
        )
    base = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{name.removeprefix(PREFIX)}"

    def fetched(file: str, how: str = "resolve") -> str | None:
        part = scratch / "hub.part"
        scratch.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        try:
            download(f"{base}/{how}/{revision}/{file}", part)
            return _text(part)
        except WeightsError as error:
            if " answers 404." in str(error):
                return None
            raise
        finally:
            part.unlink(missing_ok=True)

    config, preprocessor = fetched(CONFIG), fetched(PREPROCESSOR)
    if config is None or preprocessor is None:
        lacking = CONFIG if config is None else PREPROCESSOR
        raise WeightsMissingError(f"{base} has no {lacking} at {revision}. Check the name and the commit.")
    for file in WEIGHT_FILES:
        pointer = fetched(file, "raw")
        if pointer is not None:
            digest = _POINTER.search(pointer)
            model = described(name, config, preprocessor)
            return replace(
                model,
                file=file,
                url=f"{base}/resolve/{revision}/{file}",
                sha256=digest[1] if digest else "",
                licence=licence_in(fetched("README.md") or ""),
            )
    raise _no_weights(name, f"{base} at {revision}", fetched("model.safetensors.index.json", "raw") is not None)


def keep(model: HubModel, root: Path) -> None:
    """Write the description of a model into the weights folder, in place of what was there.

    Raises:
        WeightsError: the folder cannot be written.
    """
    path = _path(root, model.name)
    with writing_to(path.parent):
        write_text(path, json.dumps(asdict(model), indent=1))


def described_models(root: Path) -> list[HubModel]:
    """The models whose descriptions are in the weights folder."""
    return [
        described_model(path.stem.replace("%2F", "/"), root)
        for path in sorted((root / "models").glob("hf-audio%2F*.json"))
    ]


def described_model(name: str, root: Path) -> HubModel:
    """The description of a model in the weights folder.

    Raises:
        SpecError: the name is none.
        WeightsMissingError: it was never imported or pulled; the message says what to type.
        WeightsError: it is damaged.
    """
    check_name(name)
    path = _path(root, name)
    try:
        fields = json.loads(path.read_text("utf-8"))
        return HubModel(**{**fields, "clock": Clock(**fields["clock"])})
    except FileNotFoundError as error:
        raise WeightsMissingError(
            f"'{name}' is not in {root}: its config.json says what the network is, also for untrained parameters. Type "
            f"`affstore weights pull {name} --revision COMMIT`, or `affstore weights import {name} FOLDER` (with "
            "`--config-only` for a folder without parameters)."
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{path} is damaged ({error}). Delete it and import the model again.") from error


def check_name(name: str) -> None:
    """See that a name is one of a model.

    Raises:
        SpecError: it is not.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise SpecError(
            f"'{name}' names no model of the hub: write hf-audio/ORG/NAME, as in hf-audio/microsoft/wavlm-base-plus, "
            "and a layer behind it as in hf-audio/microsoft/wavlm-base-plus@9."
        )


def described(name: str, config_text: str, preprocessor_text: str) -> HubModel:
    """A model by its two configurations, measured.

    Raises:
        SpecError: it is no audio encoder that affstore can run.
    """
    fields, prepares = _object(name, CONFIG, config_text), _object(name, PREPROCESSOR, preprocessor_text)
    kind = fields.get("model_type")
    if kind not in ENCODERS:
        raise SpecError(f"'{name}' is a model of the type '{kind}'; affstore runs {', '.join(sorted(ENCODERS))}.")
    expected, found = ENCODERS[str(kind)][1], prepares.get("feature_extractor_type", ENCODERS[str(kind)][1])
    if found != expected or fields.get("add_adapter"):
        odd = (
            f"its preprocessing is '{found}', not '{expected}'" if found != expected else "it has an adapter at its end"
        )
        raise SpecError(f"'{name}' is a {kind}, but {odd}, which affstore does not run.")
    config = _canonical(
        fields | {key: off for key, off in _ONLY_IN_TRAINING.items() if kind != "whisper" or key in fields}
    )
    preprocessor = _canonical(prepares)
    try:
        clock, width = measured(config, preprocessor)
        settings = settings_of(json.loads(config))
        layers, rate_hz = int(settings.num_hidden_layers), int(feature_extractor(config, preprocessor).sampling_rate)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise SpecError(f"'{name}' cannot be built from its {CONFIG} and {PREPROCESSOR}: {reason}.") from error
    return HubModel(name, config, preprocessor, rate_hz, width, layers, clock)


@cache
def architecture_of(name: str, config: str) -> Architecture:
    """The network, built on the CPU, for it holds tables that no file has."""
    return Architecture(
        name,
        lambda outputs: network_of(config),
        device="cpu",
        convert=lambda tensors: _converted(name, config, tensors),
    )


def untrained_parameters(name: str, config: str, seed: int) -> dict[str, torch.Tensor]:
    """Seeded parameters; small kernels in the transformer leave each moment its own state."""
    from affstore.models.weights.architectures import layout

    drawn = draw(layout(architecture_of(name, config), 0), seed)
    for parameter, tensor in drawn.items():
        if "layers." in parameter and "conv" not in parameter and tensor.ndim > 1:
            tensor.mul_(0.3)
    return unit_weight_norms(drawn)


def licence_in(card: str) -> str:
    """The licence that a model's card states at its top."""
    _, fence, rest = card.partition("---")
    found = _LICENCE.search(rest.partition("\n---")[0]) if fence else None
    return found[1] if found else "none stated"


def _converted(name: str, config: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published parameters under today's names of transformers, which knows its older ones.

    Raises:
        ArchitectureError: some are missing or of another shape.
    """
    import torch
    from transformers.utils import logging

    fields = json.loads(config)
    if fields["model_type"] == "whisper":
        tensors = {key.rpartition("encoder.")[2]: tensor for key, tensor in tensors.items() if "encoder." in key}
    verbosity = logging.get_verbosity()
    logging.set_verbosity(50)
    try:
        loaded, found = class_of(fields).from_pretrained(
            None, config=settings_of(fields), state_dict=dict(tensors), output_loading_info=True, dtype=torch.float32
        )
    except (RuntimeError, ValueError, KeyError) as error:
        raise ArchitectureError(f"The parameters of '{name}' do not fit its {CONFIG}: {error!s:.200}.") from error
    finally:
        logging.set_verbosity(verbosity)
    if missing := sorted(found["missing_keys"]):
        raise ArchitectureError(
            f"'{name}' has no parameter {some(missing)}. The file is another network's, or not whole."
        )
    return {key: tensor.detach().clone().contiguous() for key, tensor in loaded.state_dict().items()}


def _object(name: str, file: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise SpecError(f"The {file} of '{name}' is no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise SpecError(f"The {file} of '{name}' holds no settings.")
    return found


def _canonical(fields: Mapping[str, Any]) -> str:
    return json.dumps({k: fields[k] for k in sorted(fields) if k not in _NO_NUMBER_DEPENDS_ON}, sort_keys=True)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_JSON_BYTES + 1)
    except OSError as error:
        raise WeightsMissingError(f"There is no {path.name} in '{path.parent}' ({error.strerror}).") from error
    # A file of parameters that lies in the repository itself is no text; that it is there is all that matters.
    return content[:_MOST_JSON_BYTES].decode("utf-8", "replace")


def _no_weights(name: str, where: str, in_pieces: bool) -> WeightsMissingError:
    why = "its parameters lie in several files, which affstore does not read" if in_pieces else "it has neither"
    return WeightsMissingError(
        f"{where} holds no parameters of '{name}' in {' or '.join(WEIGHT_FILES)}: {why}. For untrained parameters, "
        f"import a folder with its configurations by `affstore weights import {name} FOLDER --config-only`."
    )


def _path(root: Path, name: str) -> Path:
    return root / "models" / f"{name.replace('/', '%2F')}.json"
