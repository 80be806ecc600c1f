"""LeNets on distorted digits: Table 2 and Figures 3 to 7 of Uličný, Lundström and Byttner, 2016."""
