"""The page of the papers' rows: what it says, what it draws, and that a browser needs nothing else to show it."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flows.experiment_report import write_experiment_report
from flows.shown_frames import block_means, block_modes, block_starts, counted
from models.methods import Leaf
from models.metrics import Scores, score
from store.contract.labels import EXPR, task_space
from tasks.rows import RowOutcome, RowSpec, Shown, ShownVideo, Sweep

ABOUT = {
    "store": "a-store",
    "snapshot": "ABC123",
    "untrained": [],
    "papers_corpus": True,
    "brief": False,
    "code": {"numpy": "2.1"},
}


def make_row(task="expr", **fields):
    given = {
        "name": f"abaw6/table5/{task}",
        "title": f"the {task} row",
        "source": "ABAW6 Table 5",
        "paper": {"expr": {"macro F1": 0.433}, "au": {"mean F1": 0.523}, "va": {"mean CCC": 0.5, "CCC valence": 0.447}},
    }
    given["paper"] = given["paper"][task]
    return RowSpec(**(given | {"task": task, "heads": (), "method": Leaf("head")} | fields))


def make_video(task, name="video1", frames=400, wrong=0.3, seed=0):
    """Annotations that change slowly, and predictions of which a share is wrong; the first tenth is unknown."""
    random, width = np.random.default_rng(seed), {"expr": 1, "au": 12, "va": 2}[task]
    known = np.ones((frames, width), bool)
    known[: frames // 10] = False
    if task == "va":
        value = np.sin(np.arange(frames)[:, None] / 60 + np.array([seed, seed + 1])) * 0.7
        label = value * 0.8 + random.normal(0, wrong / 2, value.shape)
        return ShownVideo(name, label.astype(np.float32), label.astype(np.float32), np.where(known, value, -5), known)
    classes = 8 if task == "expr" else 2
    value = np.repeat(random.integers(0, classes, (frames // 25 + 1, width)), 25, axis=0)[:frames]
    label = np.where(random.random(value.shape) < wrong, random.integers(0, classes, value.shape), value)
    scores = random.random((frames, 8 if task == "expr" else 12)).astype(np.float32)
    return ShownVideo(name, scores, label, np.where(known, value, -1), known)


def make_shown(row, protocol="papers", videos=None, **fields):
    if videos is None:
        videos = [make_video(row.task, f"video{i}", 300 + 50 * i, 0.1 + 0.2 * i, i) for i in range(4)]
    stacked = [np.concatenate([getattr(one, part) for one in videos]) for part in ("label", "value", "known")]
    scores = score(row.task, *stacked, row.without)
    chosen = {"smooth_frames": 50, "weight": 0.62518, "epochs of head": 7}
    return Shown(row, protocol, scores, (scores.value - 0.04, scores.value + 0.05), chosen, tuple(videos), **fields)


def make_outcome(task="expr", protocols=("papers",), **fields):
    row = make_row(task, **fields)
    return RowOutcome(row, "done", "", tuple(make_shown(row, protocol) for protocol in protocols))


def written(tmp_path, *outcomes, **about):
    path = write_experiment_report(outcomes, tmp_path, ABOUT | about)
    return path.read_text(encoding="utf-8")
