"""The transactional store: open, read, write through drafts, commit, list, export. Only this folder knows icechunk."""
