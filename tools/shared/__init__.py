"""What the programs in tools/ share."""
