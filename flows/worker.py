"""Preloaded by every Dask worker: its environment, and its share of the machine's cores."""

from __future__ import annotations

import os
from typing import Any

import click

from flows.environment import prepare

prepare()


@click.command()
@click.option("--workers", type=int, default=1, help="How many workers share this machine's cores.")
def dask_setup(worker: Any, workers: int) -> None:
    """Called by Dask when a worker starts."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
