"""What artifacts are called, where they live, and what they came from."""
