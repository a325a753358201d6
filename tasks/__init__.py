"""Thin Prefect tasks: find, else compute and write. They take and return small values, never tensors. No arithmetic."""
