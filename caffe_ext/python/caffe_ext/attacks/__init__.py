"""Attacks: directions, line searches and iterated methods, and the registry of their names."""
