"""Table 1 of Mallam Garba et al.: CIFAR-10 quick trained with noise and attacks, under attack."""
