"""Open a store, list it, and read one video's aligned embedding: `python examples/read_embeddings.py STORE`."""

import sys

import polars as pl

from affstore import FeatureStore, catalogue, open_xarray, read_video

features = FeatureStore(sys.argv[1] if len(sys.argv) > 1 else "affstore-demo/store")  # or FeatureStore(url, at="a tag")

artifacts = catalogue(features)
print(artifacts.group_by("family", "producer").agg(pl.len(), pl.col("frames").sum()).sort("family", "producer"))

name, subject = artifacts.filter(pl.col("family") == "visual").select("video", "subject").row(0)
video = read_video(features, name, "emotieffnet_b0", subject)
print(f"{name}/{subject}: embedding {video.embedding.shape}, a face in {video.present.sum()} frames")
print(f"frames begin at {video.clock.starts_s[:3]} … s; made with {video.record.made}")

labelled = open_xarray(features, name, "emotieffnet_b0", subject)
if "logits" in labelled:
    happiness = labelled["logits"].sel({"class": "Happiness"})
    print(f"logit of happiness: {float(happiness.mean()):.3f} on average, NaN where there is no face")

for record in features.records("audio"):
    if record.address.video == name:
        sound = read_video(features, name, record.address.producer)
        print(f"sound by {record.address.producer}: {sound.embedding.shape}, heard in {sound.present.sum()} frames")
