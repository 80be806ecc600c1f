"""Transfer of adversarials: those of each model of a set, tried on all of the models."""
