"""Hard positives: adversarial images with the labels of their originals, for fine-tuning."""
