"""Whether there is a GPU is known without torch where there is no driver."""

from __future__ import annotations

import subprocess
import sys

from affstore.models.engines import gpu


def test_torch_is_asked_where_it_is_loaded(monkeypatch):
    for answer in (True, False):
        monkeypatch.setattr("torch.cuda.is_available", lambda answer=answer: answer)
        assert gpu.has_gpu() is answer


def asked_without_torch(*lines: str) -> list[str]:
    """What a process says of a GPU and of torch, after some lines of its own."""
    program = "; ".join(
        [
            "import sys",
            "from affstore.models.engines import gpu",
            *lines,
            "print(gpu.has_gpu(), 'torch' in sys.modules)",
        ]
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_torch_is_not_imported_where_the_system_has_no_driver():
    assert asked_without_torch("gpu._CUDA, gpu._ROCM = 'libnobody.so.1', '/nobody'") == ["False", "False"]


def test_torch_is_asked_where_there_is_one():
    _, imported = asked_without_torch("gpu._CUDA = 'libc.so.6'")
    assert imported == "True"
