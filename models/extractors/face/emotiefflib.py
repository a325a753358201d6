"""The files of networks that EmotiEffLib publishes."""

from __future__ import annotations

from affstore.models.weights.architectures import Architecture
from affstore.models.weights.entry import WeightsEntry

_URL = "https://github.com/sb-ai-lab/EmotiEffLib/raw/f1df0e8548c666d268826e50b7de107fd5553e9d/models/affectnet_emotions"


def emotiefflib_entry(
    name: str, network: Architecture, outputs: int, git_blob_sha1: str, paper: str = ""
) -> WeightsEntry:
    """The entry of a file of EmotiEffLib.

    Args:
        name: of the file, without its ending.
        network: that the parameters are of.
        outputs: columns of the classifier.
        git_blob_sha1: git's own digest of the file.
        paper: what a paper calls the network, and which; empty for a network of no paper.
    """
    return WeightsEntry(
        name,
        network,
        outputs,
        file=f"{name}.pt",
        url=f"{_URL}/{name}.pt",
        git_blob_sha1=git_blob_sha1,
        licence="Apache-2.0",
        format="torch_module_pickle",
        source=f"{paper and f'{paper}; '}EmotiEffLib, blob id from its public tree",
    )
