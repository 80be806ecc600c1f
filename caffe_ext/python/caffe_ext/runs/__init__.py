"""Runs: attacks on all images of a source, their records, and what is exported of them."""
