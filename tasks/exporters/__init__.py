"""Exporters that need more than the store: those that decode the videos. Each file registers one."""
