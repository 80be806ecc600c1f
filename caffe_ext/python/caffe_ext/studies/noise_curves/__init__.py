"""Noise curves: how a network's stability under random noise changes during training."""
