"""The feature store: what artifacts are called, where they live, what they came from."""
