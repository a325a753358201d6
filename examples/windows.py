"""Windows of many videos as a torch dataset: `python examples/windows.py STORE`."""

import sys

from torch.utils.data import DataLoader

from affstore import FeatureStore, FrameWindows, WindowSpec

features = FeatureStore(sys.argv[1] if len(sys.argv) > 1 else "affstore-demo/store")
records = [record for record in features.records("visual") if record.address.producer == "emotieffnet_b0"]
windows = FrameWindows(features, records, WindowSpec(length=60, stride=40))

for batch in DataLoader(windows, batch_size=16, shuffle=True):
    print(
        f"embedding {tuple(batch.embedding.shape)}, faces present in {batch.present.float().mean():.0%} of the frames"
    )
