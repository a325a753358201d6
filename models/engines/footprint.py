"""What a forward pass needs beside the parameters: measured once a family of networks, in float32, and rounded up."""

from __future__ import annotations

from dataclasses import dataclass

from affstore.models.extractor_specs import FaceExtractorSpec

_MIB = 1 << 20

_BATCH = {"openvino": 4, "torch": 32}
_GPU_BATCH = 256
_BATCHES_WAITING = 2

PASSES_A_THREAD = {"openvino": 2}
"""While one pass computes, the next is handed over, so that no core waits for Python: B0 in bfloat16, .87 of the bare
pass with one, .93 with two. OpenVINO queues them; torch would run both at once, and need the memory of both."""

_MOST_STREAMS = 64

_CONVERTED_A_PIXEL = 320
"""What OpenVINO keeps of a network grows with the batch by so much."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What a network's forward passes work on.

    Attributes:
        threads: that run passes of face networks at the same time.
        device: `cpu` or `cuda`.
        sound_s: length of the sound that a sound network hears.
    """

    threads: int = 1
    device: str = "cpu"
    sound_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PassBytes:
    """The memory that forward passes need beside the parameters.

    Attributes:
        host: of the machine.
        gpu: of the GPU.
    """

    host: int
    gpu: int = 0


@dataclass(frozen=True, slots=True)
class FaceFootprint:
    """What was measured of a face network; the values of one that was not measured are those of the hungriest.

    Attributes:
        torch: bytes a pixel of a batch, for each thread. Measured: B0 344, B2 322, MobileFaceNet 565, MobileViT 573.
        openvino: the same on OpenVINO, for each stream: B0 130, B2 124, MobileFaceNet and DDAMFN 261, MobileViT 292.
        converted: bytes that OpenVINO keeps once, whatever its streams. With two streams, all of a network was measured
            to take: B0 194 MiB in batches of 4 and 466 in batches of 16; DDAMFN 111 and 234.
    """

    torch: int = 580
    openvino: int = 300
    converted: int = 130 * _MIB


NOT_MEASURED = FaceFootprint()
"""Of a network that was not measured."""


def face_pass_bytes(spec: FaceExtractorSpec, workload: Workload, measured: FaceFootprint = NOT_MEASURED) -> PassBytes:
    """Memory of a face network's passes in all threads, and of the crops that wait for them.

    On a GPU, where nothing was measured: one pass at a time, whose graph keeps what it needs.
    """
    pixels, threads = spec.size_px**2, workload.threads
    a_pixel = measured.openvino if spec.engine == "openvino" else measured.torch
    on_gpu = workload.device != "cpu"
    batch = _GPU_BATCH if on_gpu else _BATCH.get(spec.engine, _BATCH["torch"])
    crops = 3 * pixels * batch * (PASSES_A_THREAD.get(spec.engine, 1) * threads * (_BATCHES_WAITING + 1) + 1)
    if on_gpu:
        whole = a_pixel * pixels * batch
        return PassBytes(crops, whole // 2 if spec.precision == "bfloat16" else whole)
    if spec.engine == "openvino":
        streams = min(_MOST_STREAMS, threads)
        return PassBytes(crops + measured.converted + (_CONVERTED_A_PIXEL + streams * a_pixel) * pixels * batch)
    return PassBytes(crops + a_pixel * pixels * batch * threads)


def sound_pass_bytes(workload: Workload, a_pass: int) -> PassBytes:
    """One pass of a sound network, which takes so many bytes; none for a video without sound."""
    needed = a_pass if workload.sound_s else 0
    return PassBytes(needed) if workload.device == "cpu" else PassBytes(0, needed)
