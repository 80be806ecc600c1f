"""Certificates: lower bounds of robustness, by randomized smoothing and by bounds of the logits."""
