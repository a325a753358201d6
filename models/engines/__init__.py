"""What runs a network's forward pass: one interface, several engines; which one is part of every key."""

import sys

# OpenVINO tells Google Analytics of every import, from a forked copy of this process, unless this package is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
