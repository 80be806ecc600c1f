"""Words that depend on numbers, for messages."""


def amount(number: int, one: str, several: str | None = None) -> str:
    """Return "1 image" or "1,000 images"; several: of words that take more than an s."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"
