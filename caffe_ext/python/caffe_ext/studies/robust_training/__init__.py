"""Table 1 of mallamgarba's report: CIFAR-10 quick trained with noise and attacks, under attack."""
