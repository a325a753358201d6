"""Suites of tests that every kind of thing must pass: those of this package, and those that plugins bring."""
