"""Checks of attacks' settings."""


def check_whole(name: str, value: object, least: int) -> None:
    """Raise ValueError for a setting that is not a whole number, or is below the least.

    Only Python's int is accepted: an attack's text holds the repr() of a setting.
    """
    if type(value) is not int or value < least:
        raise ValueError(f"{name} must be a whole number, {least} or more, not {value!r}")
