"""Smallest adversarials by iteration: searches in real numbers, then on whole grey levels.

fmn.py, ddn.py, deepfool.py, lbfgs.py   the searches
lattice_l2.py, lattice_linf.py          the conversion of their results to whole grey levels
attack.py                               both together, as attacks
"""
