"""The values of an axis: a list, or {from, to, step} in exact decimals."""

from decimal import Decimal, InvalidOperation
from typing import Any

from caffe_ext.reporting import suggest

_RANGE = ("from", "to", "step")
MOST_VALUES = 100_000
"""Of an axis, and of all axes together."""
_MOST_EXPONENT = 300


def read_values(where: str, given: Any) -> tuple[Any, ...]:
    """Return the values of an axis.

    where  names the axis, for messages
    given  a list of distinct values, or a mapping {from, to, step}: from, from + step, ..., to in
           decimals: 1.05 is the number that is written as 1.05, and not 1 + 0.05 in binary

    Raises ValueError.
    """
    if isinstance(given, dict):
        return _count_up(where, given)
    if not isinstance(given, list) or not given:
        raise ValueError(f"{where} must be a list of values, or {{from: 1.0, to: 1.6, step: 0.05}}")
    if len(given) > MOST_VALUES:
        raise ValueError(f"{where} has more than {MOST_VALUES:,} values")
    seen: set[str] = set()
    for value in given:
        name = _name_value(value)
        if name in seen:
            raise ValueError(f"{where} has the value {value!r} twice")
        seen.add(name)
    return tuple(given)


def _name_value(value: Any) -> str:
    """Return the same text for values that are equal to a solver: 0.01, 1e-2 and "0.01"."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return f"{Decimal(str(value)).normalize()}"
        except ArithmeticError:
            pass
    return repr(value)


def _count_up(where: str, given: dict[Any, Any]) -> tuple[Any, ...]:
    for key in given:
        if key not in _RANGE:
            meant = suggest(str(key), _RANGE)
            raise ValueError(
                f"{where} has the unknown key {key!r}{f' ({meant})' if meant else ''}; a range is "
                "{from: 1.0, to: 1.6, step: 0.05}"
            )
    for key in _RANGE:
        if key not in given:
            raise ValueError(f"{where} is a range without `{key}:`")
    first, last, step = (_read_decimal(f"{where}: `{key}:`", given[key]) for key in _RANGE)
    if step and abs(last - first) / abs(step) >= MOST_VALUES:
        raise ValueError(f"{where} has more than {MOST_VALUES:,} values")
    if step == 0 or (last - first) / step < 0:
        raise ValueError(f"{where}: steps of {step} never lead from {first} to {last}")
    count = (last - first) / step
    if count != count.to_integral_value():
        reached = first + int(count) * step
        raise ValueError(
            f"{where}: steps of {step} from {first} lead to {reached} and {reached + step}, but "
            f"not to {last}"
        )
    whole = all(isinstance(given[key], int) for key in _RANGE)
    values = (first + number * step for number in range(int(count) + 1))
    return tuple(int(value) if whole else float(value) for value in values)


def _read_decimal(where: str, value: Any) -> Decimal:
    """Return a number as it is written."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            pass
        else:
            if number.is_finite() and abs(number.adjusted()) > _MOST_EXPONENT:
                raise ValueError(f"{where} must be 1e-300 to 1e300 in size, not {value!r}")
            if number.is_finite():
                return number
    raise ValueError(f"{where} must be a number, not {value!r}")
