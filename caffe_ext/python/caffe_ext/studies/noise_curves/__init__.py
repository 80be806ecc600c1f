"""Noise curves: how a network's stability under random noise develops along its training."""
