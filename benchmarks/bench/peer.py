"""EmotiEffLib on a folder of JPEG files; run by its own Python, in an environment of its own (see benchmarks/faces.py).

Prints one JSON document: the seconds of each round, from the files to features and logits in memory.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

LIST = 32
"""Faces a call: its fastest in 16, 32 and 64."""


def export(model: str, home: Path) -> None:
    """Write the ONNX file that its second engine reads, from the same module."""
    import torch

    module = torch.load(home / f"{model}.pt", map_location="cpu", weights_only=False).eval()
    batch = {"input": {0: "batch"}, "output": {0: "batch"}}
    size = torch.zeros(1, 3, 224, 224)
    names = {"input_names": ["input"], "output_names": ["output"]}
    torch.onnx.export(module, size, home / f"{model}.onnx", opset_version=17, dynamic_axes=batch, dynamo=False, **names)


def main() -> None:
    folder, weights, engine, rounds = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    home = Path(os.environ["HOME"]) / ".emotiefflib"
    home.mkdir(exist_ok=True)
    (home / weights.name).unlink(missing_ok=True)
    (home / weights.name).symlink_to(weights.resolve())
    if engine == "onnx" and not (home / f"{weights.stem}.onnx").exists():
        export(weights.stem, home)
    from emotiefflib.facial_analysis import EmotiEffLibRecognizer

    recognizer = EmotiEffLibRecognizer(engine=engine, model_name=weights.stem, device="cpu")
    files = sorted(folder.glob("*.jpg"))
    took = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        for first in range(0, len(files), LIST):
            faces = [np.asarray(Image.open(file).convert("RGB")) for file in files[first : first + LIST]]
            recognizer.classify_emotions(recognizer.extract_features(faces), logits=True)
        took.append(time.perf_counter() - started)
    print(json.dumps({"faces": len(files), "rounds_s": took[1:]}))  # the first round warms up


if __name__ == "__main__":
    main()
