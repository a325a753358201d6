"""Networks are built ahead of the first video, while a server, workers and the store are seen to."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass

from affstore.tasks.specs import Profile, WorkerContext


@dataclass(frozen=True, slots=True)
class Loading:
    """What a process that will extract begins with.

    Attributes:
        context: of the run.
        profile: the networks that something is due from; without extractors, nothing is loaded.
    """

    context: WorkerContext
    profile: Profile

    def begin(self) -> None:
        """Build the networks in a thread of this process; a task that wants one waits for it."""
        if self.profile.extractors:
            threading.Thread(target=self._load, daemon=True, name="loading").start()

    def _load(self) -> None:
        from affstore.models.extractor_specs import faces_among, sounds_among
        from affstore.tasks.extract.networks import detector, face_network, sound_network

        context, profile = self.context, self.profile
        with suppress(Exception):  # each video that wants it will say so
            for face in faces_among(profile.extractors):
                detector(profile.detector, context.device)
                face_network(face, context.weights, context.device)
            for sound in sounds_among(profile.extractors):
                sound_network(sound, context.weights, context.device)
