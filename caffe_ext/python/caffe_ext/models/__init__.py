"""Models: what classifies images, how pixels become its input, and where it is described."""
