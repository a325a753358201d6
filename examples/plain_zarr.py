"""The store without affstore, through icechunk alone: `python examples/plain_zarr.py STORE`."""

import sys

import icechunk
import xarray as xr
import zarr

path = sys.argv[1] if len(sys.argv) > 1 else "affstore-demo/store"
repository = icechunk.Repository.open(icechunk.local_filesystem_storage(path))
session = repository.readonly_session("main")
group = zarr.open_group(session.store, mode="r")
print(group["visual"].tree() if "visual" in group else list(group))

video = next(iter(group["visual/emotieffnet_b0"]))
subject = next(iter(group[f"visual/emotieffnet_b0/{video}"]))
print(xr.open_zarr(session.store, group=f"visual/emotieffnet_b0/{video}/{subject}", consolidated=False))
