"""What the face detector computes beside its networks: torchvision's numbers to the bit, without torch."""

from __future__ import annotations

import platform
import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import nms, roi_align

from affstore.models.faces.boxes import best
from affstore.models.faces.networks import OUTPUT, PROPOSAL, REFINEMENT, parameters
from affstore.models.faces.pyramid import _sampled, _scaled
from affstore.models.faces.specs import weights_files
from affstore.store.contract.errors import ArchitectureError

on_x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="other processors add what they multiply without rounding it"
)

NETWORKS = dict(zip((PROPOSAL, REFINEMENT, OUTPUT), weights_files(), strict=True))


def boxes(draw: np.random.Generator, count: int, within_px: int, coarse: bool) -> np.ndarray:
    """Squares, some of which lie partly outside; `coarse` ones often share edges, or are the same."""
    corner = draw.uniform(-0.2, 1, (count, 2)) * within_px
    box = np.concatenate([corner, corner + draw.uniform(1, within_px, (count, 1))], axis=1)
    return (np.round(box / 8) * 8 if coarse else box).astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.booleans(), st.sampled_from([0.5, 0.7]))
def test_of_boxes_that_overlap_those_are_kept_that_torchvision_keeps(seed, count, coarse, most_shared):
    draw = np.random.default_rng(seed)
    box = boxes(draw, count, 100, coarse)
    score = np.round(draw.random(count), 2).astype(np.float32)  # many are equal
    wanted = nms(torch.from_numpy(box), torch.from_numpy(score), most_shared).numpy()
    np.testing.assert_array_equal(best(box, score, most_shared), wanted)


@on_x86
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.booleans(), st.sampled_from([24, 48]))
def test_patches_are_sampled_as_torchvision_samples_them(seed, count, coarse, side_px):
    draw = np.random.default_rng(seed)
    height, width = draw.integers(1, 80, 2)
    picture = _scaled(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))
    box = boxes(draw, count, 80, coarse)
    rows = torch.from_numpy(np.concatenate([np.zeros((count, 1), np.float32), box], axis=1))
    wanted = roi_align(torch.from_numpy(picture)[None], rows, side_px, sampling_ratio=1, aligned=True).numpy()
    np.testing.assert_array_equal(_sampled(picture, box, side_px), wanted)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_parameters_of_another_network_are_refused(network, tmp_path):
    read = parameters(network, NETWORKS[network])
    assert [array.shape for array in read] == list(network.shapes)
    published = joblib.load(NETWORKS[network])
    for wrong in (published[:-1], [*published[:-1], published[-1][:-1]]):
        file = tmp_path / "net.lz4"
        joblib.dump(wrong, file)
        with pytest.raises(ArchitectureError, match=rf"^net\.lz4 holds .*{network.name}"):
            parameters(network, file)


def test_a_process_finds_faces_without_torch():
    program = (
        "import sys, numpy as np; "
        "from affstore.models.faces.specs import DetectorSpec, resolve; "
        "from affstore.tasks.extract import networks; "
        "detector = networks.detector(resolve(DetectorSpec(engine='openvino')), 'cpu'); "
        "print(len(detector.detect(np.full((90, 90, 3), 99, np.uint8))), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "False"]
