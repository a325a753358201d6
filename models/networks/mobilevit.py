"""MobileViTv2 of timm (Mehta and Rastegari, 2022, arXiv:2206.02680), 1.5 times as wide: MT-EmotiMobileViT."""

from __future__ import annotations

from typing import Any

from affstore.models.networks.staged import Staged, chain


def staged(network: Any) -> Staged:
    """Stem, five stages (two of convolutions, three with attention), pooling."""
    top = chain(network.final_conv, network.head.global_pool)
    return Staged((network.stem, *network.stages, top), network.head.fc, network.num_features)
