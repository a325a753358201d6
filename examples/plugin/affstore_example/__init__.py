"""One affstore plugin of each kind, one file each. The entry points in `pyproject.toml` name them."""
