"""Distances as text: in grey levels, as here, and for pixels in 0..1, as in the literature."""


def format_both_units(grey_levels: float) -> str:
    """Return a distance in both units: "63.75 (0.25)"."""
    return f"{grey_levels:.5g} ({grey_levels / 255:.4g})"
