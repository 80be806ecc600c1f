"""Directions by name: fgs, fgv, margin, margin-s, hc1, hc1-s, hot:7, each also with @BLOB."""

from caffe_ext.attacks.directions import Direction, FastGradient, HotCold, LogitMargin

# Names of blobs can have slashes in them: inception_3a/output.
DIRECTION = r"(?:fgs|fgv|margin(?:-s)?|hc\d+(?:-s)?|hot:\d+(?:-s)?)(?:@[^*=+]+)?"
"""A regular expression for what parse_direction takes, ignoring case."""


def parse_direction(text: str) -> Direction:
    """Return the direction of a name that DIRECTION matches, such as `hc1-s@ip1`."""
    name, _, blob = text.partition("@")
    name, through = name.lower(), blob or None
    if name in ("fgs", "fgv"):
        return FastGradient(sign=name == "fgs", through=through)
    sign = name.endswith("-s")
    name = name.removesuffix("-s")
    if name == "margin":
        return LogitMargin(sign=sign, through=through)
    if name.startswith("hot:"):
        return HotCold(target=int(name.removeprefix("hot:")), sign=sign, through=through)
    return HotCold(rank=int(name.removeprefix("hc")), sign=sign, through=through)


def format_direction(direction: Direction) -> str:
    """Return the name that parse_direction takes.

    Raises TypeError for a direction of another class, even a subclass of these: it may behave
    differently, and results are filed under the name.
    """
    through = f"@{direction.through}" if direction.through else ""
    if type(direction) is FastGradient:
        return ("fgs" if direction.sign else "fgv") + through
    sign = "-s" if direction.sign else ""
    if type(direction) is LogitMargin:
        return f"margin{sign}{through}"
    if type(direction) is HotCold and direction.target is not None:
        return f"hot:{direction.target}{sign}{through}"
    if type(direction) is HotCold:
        return f"hc{direction.rank}{sign}{through}"
    raise TypeError(
        f"{type(direction).__name__} is a direction without a name: register an attack of your own "
        "that uses it (register_attack), so that its results are filed under another name"
    )
