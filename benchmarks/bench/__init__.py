"""What the benchmarks share: clocks, and a store to work on."""
