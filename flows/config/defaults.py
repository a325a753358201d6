"""The defaults of a run. Imports nothing, so that `affstore --help` is quick."""

from __future__ import annotations

DEFAULT_STORE = "affstore-data"

DEFAULT_EXTRACTORS = ("emotieffnet_b0", "wav2vec2_base_960h")
