"""Arrays to arrays: media, faces, extractors, heads, metrics. No Prefect, no Dask, no store, no wall clock."""
