"""Runs: attacks on all images of a source, their records, and their exports."""
