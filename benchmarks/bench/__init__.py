"""What the benchmarks share: clocks, and a store to work on."""

import os

# An installation has its modules compiled: commands that are timed are not to compile them each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
