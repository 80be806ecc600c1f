"""Table 1 of the BANG paper: its models trained, attacked, and compared with the paper's."""
