"""Smallest adversarials by iteration: searches in real numbers, then on whole grey levels.

fmn.py, ddn.py, deepfool.py        the searches
lattice_l2.py, lattice_linf.py     what makes small adversarials of whole grey levels of their finds
attack.py                          both together, as attacks
"""
