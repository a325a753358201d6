"""Faces in frames: detection, tracking of subjects, crops."""
