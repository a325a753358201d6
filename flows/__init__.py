"""Composition only: configuration, runners, flows and the command line. The one place that knows deployment."""
