"""Transfer of adversarials: what is found on each of some models, tried on all of them."""
