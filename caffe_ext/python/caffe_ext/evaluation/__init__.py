"""How robust a model is: attacks, noise, signs of masked gradients, and the report."""
