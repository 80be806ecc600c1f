"""Table 1 and Figure 6 of the PASS paper: LeNets fine-tuned on hard positives."""
