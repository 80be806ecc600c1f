"""The loss landscape of a small net on Iris: minima, connections, sensitivity (Wang et al.)."""
