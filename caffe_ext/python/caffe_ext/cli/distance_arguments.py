"""Options that take distances in images: in grey levels (8), or of pixels in 0..1 (0.03of1)."""

# The package, which loads NumPy, is imported late: --help is instant.
# ruff: noqa: PLC0415

import argparse
from collections.abc import Iterable


def read_distances(  # noqa: PLR0913  the settings are independent of each other
    parser: argparse.ArgumentParser,
    option: str,
    texts: Iterable[str],
    *,
    zero: bool = False,
    small: bool = False,
    linf: bool = False,
) -> list[float]:
    """Return the distances of an option in grey levels, each once, in their order.

    zero   0 is one, too
    small  so are those below one grey level, where their unit is named: 0.5/255 or 0.002of1
    linf   of single pixels: at most 255

    Ends the program with a sentence for what is no distance, and for other ones below one grey
    level, which mostly are meant of pixels in 0..1.
    """
    from caffe_ext.attacks.budget import (
        check_distance,
        check_largest_change,
        has_unit,
        parse_distance,
    )

    effect = ("changes few pixels of an image file",) if option == "sigma" else ()
    distances = []
    for text in texts:
        try:
            distance = parse_distance(text)
            named = small and distance and has_unit(text)
            if not named and (distance or not zero):
                check_distance(f"--{option}", distance, *effect)
            if linf:
                check_largest_change(distance)
        except ValueError as error:
            sentence = f"{error}"
            parser.error(sentence if f"--{option}" in sentence else f"--{option}: {sentence}")
        distances.append(distance)
    return list(dict.fromkeys(distances))
