"""EfficientNet of timm with TensorFlow's "same" padding: the network of EmotiEffNet."""

from __future__ import annotations

from typing import Any

from affstore.models.networks.staged import Staged, chain


def staged(network: Any) -> Staged:
    """Stem, seven stages of blocks, head and pooling."""
    stem = chain(network.conv_stem, network.bn1)
    top = chain(network.conv_head, network.bn2, network.global_pool)
    return Staged((stem, *network.blocks, top), network.classifier, network.num_features)
