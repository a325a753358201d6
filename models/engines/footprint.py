"""What a forward pass needs beside the parameters: measured once a family of networks, in float32, and rounded up."""

from __future__ import annotations

from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec, SoundExtractorSpec

_MIB = 1 << 20
_AFFECT = 3

_BATCH = {"openvino": 4, "torch": 32}
_GPU_BATCH = 256
_BATCHES_WAITING = 2

PASSES_A_THREAD = {"openvino": 2}
"""While one pass computes, the next is handed over, so that no core waits for Python: B0 in bfloat16, .87 of the bare
pass with one, .93 with two. OpenVINO queues them; torch would run both at once, and need the memory of both."""

_MOST_STREAMS = 64

_CONVERTED, _CONVERTED_A_PIXEL = 130 * _MIB, 320
"""What OpenVINO keeps of a network once, whatever its streams, and what grows with the batch. With two streams, all of
a network was measured to take: B0 194 MiB in batches of 4 and 466 in batches of 16; DDAMFN 111 and 234."""

_MOBILEVIT_CONVERTED = 230 * _MIB
"""The same, of MobileViT: 346 MiB in batches of 4, 807 in batches of 16."""

_BYTES_A_PIXEL = {"torch": 580, "openvino": 300}
"""Of a batch, for each thread or stream. Measured on torch: B0 344, B2 322, MobileFaceNet 565, MobileViT 573; on
OpenVINO: B0 130, B2 124, MobileFaceNet and DDAMFN 261, MobileViT 292."""

_OTHERS = {("torch", "emotieffnet"): 350, ("openvino", "emotieffnet"): 150}
"""The same, of the family that needs less."""

_BYTES_A_SECOND = 9 * _MIB
"""Of the sound that a pass hears. Measured: wav2vec2 base and HuBERT base 8.5 MiB, the large networks 5 to 6."""

_SHORT_WINDOWS = 96 * _MIB
"""A pass of OpenL3, which hears one second."""


def face_pass_bytes(spec: FaceExtractorSpec, threads: int, device: str) -> int:
    """Host memory of a face network's passes in all threads, and of the crops that wait for them."""
    pixels, on_gpu = spec.size_px**2, device != "cpu"
    batch = _GPU_BATCH if on_gpu else _BATCH[spec.engine]
    crops = 3 * pixels * batch * (PASSES_A_THREAD.get(spec.engine, 1) * threads * (_BATCHES_WAITING + 1) + 1)
    if on_gpu:
        return crops
    if spec.engine == "openvino":
        streams = min(_MOST_STREAMS, threads)
        kept = _MOBILEVIT_CONVERTED if _family(spec) == "emotimobilevit" else _CONVERTED
        return crops + kept + (_CONVERTED_A_PIXEL + streams * _bytes_a_pixel(spec)) * pixels * batch
    return crops + _bytes_a_pixel(spec) * pixels * batch * threads


def gpu_pass_bytes(spec: FaceExtractorSpec) -> int:
    """A GPU's memory for a face network: one pass at a time, whose graph keeps what it needs. Not measured on one."""
    whole = _bytes_a_pixel(spec) * spec.size_px**2 * _GPU_BATCH
    return whole // 2 if spec.precision == "bfloat16" else whole


def sound_pass_bytes(spec: SoundExtractorSpec, length_s: float) -> int:
    """One pass of a sound network over a segment of a sound of that length."""
    if not length_s:
        return 0
    if spec.segments.mode == "whole" or spec.name.startswith("openl3"):
        return _SHORT_WINDOWS
    return round(_BYTES_A_SECOND * min(length_s, spec.segments.length_s + 1))


def outputs_of(spec: ExtractorSpec) -> int:
    """Numbers a row: the embedding, and what the network says beside it."""
    classes = len(spec.logits or ())
    if isinstance(spec, FaceExtractorSpec):
        return spec.width + classes + 2 * spec.valence_arousal
    return spec.width + classes + _AFFECT * spec.affect


def _bytes_a_pixel(spec: FaceExtractorSpec) -> int:
    return _OTHERS.get((spec.engine, _family(spec)), _BYTES_A_PIXEL[spec.engine])


def _family(spec: FaceExtractorSpec) -> str:
    return spec.name.partition("@")[0].removeprefix("mt_").split("_")[0]
