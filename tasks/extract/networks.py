"""Networks, built once a process and shared by its threads.

On a CPU every forward pass runs on one thread: the last bits of some kernels change with the number of threads. Face
networks run in threads of their own, beside those that decode videos and find faces; a sound network runs in its
video's thread.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affstore.models.batches import SharedNetwork
from affstore.models.engines.base import forward_threads
from affstore.models.engines.footprint import PASSES_A_THREAD
from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec, SoundExtractorSpec, split_variant
from affstore.models.extractors.base import SoundExtractor
from affstore.models.extractors.registry import EXTRACTORS, build_face, build_sound
from affstore.models.faces.specs import DetectorSpec
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.registry import OWN

if TYPE_CHECKING:
    from affstore.models.faces.detector import FaceDetector


def _built_once[**P, T](build: Callable[P, T]) -> Callable[P, T]:
    """Build each network once; those of one kind one after another, while a video may begin with what is there."""
    kept: Any = cache(build)
    lock = threading.Lock()

    @wraps(build)
    def built(*args: P.args, **kwargs: P.kwargs) -> T:
        with lock:
            _one_thread_a_pass()
            network = kept(*args, **kwargs)
            _one_thread_a_pass()  # building it may have been what brought torch
            return network

    return built


def _one_thread_a_pass() -> None:
    """Give torch one thread, whenever a network is asked for: other users of torch restore what was there before.

    Networks that were converted for OpenVINO need no torch, so that it may not be here.
    """
    if "torch" in sys.modules:
        import torch  # not from the modules: another thread may be loading it

        torch.set_num_threads(1)


@cache
def _forward_pool() -> ThreadPoolExecutor:
    """The threads of all face networks, which hand batches to engines and wait for them."""
    return ThreadPoolExecutor(forward_threads() * max(PASSES_A_THREAD.values()), "forward")


@_built_once
def face_network(spec: FaceExtractorSpec, weights: Path, device: str) -> SharedNetwork:
    """The face network of a resolved spec, for all videos of this process."""
    network = build_face(spec, _parameters(spec, weights), device)
    return SharedNetwork(network, _forward_pool(), forward_threads() * PASSES_A_THREAD.get(spec.engine, 1))


@_built_once
def sound_network(spec: SoundExtractorSpec, weights: Path, device: str) -> SoundExtractor:
    """The sound network of a resolved spec."""
    return build_sound(spec, _parameters(spec, weights), device)


def _parameters(spec: ExtractorSpec, weights: Path) -> Mapping[str, Any]:
    """The network's parameters; only of affstore's own networks is what was converted before kept.

    A plugin's code may change without its version.
    """
    folder, sha256, (plain, _) = WeightsFolder(weights), spec.weights.sha256, split_variant(spec.name)
    return folder.parameters(sha256) if EXTRACTORS.origin(plain) == OWN else folder.load(sha256)


@_built_once
def detector(spec: DetectorSpec, device: str) -> FaceDetector:
    """The face detector of a resolved spec."""
    from affstore.models.faces.detector import FaceDetector

    return FaceDetector(spec, device)
