"""Hard positives: adversarial images with the labels of their originals, to fine-tune with."""
