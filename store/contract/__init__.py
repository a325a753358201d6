"""The words every layer shares; imports numpy and yaml and nothing of ours above it."""
