"""reporting.py: words that depend on numbers, and tables."""

import pytest

from caffe_ext.reporting import (
    escape_text,
    format_csv,
    format_duration,
    is_showable,
    list_names,
    pluralize,
)


def test_amounts() -> None:
    assert pluralize(1, "image") == "1 image"
    assert pluralize(0, "image") == "0 images"
    assert pluralize(1000, "noisy copy", "noisy copies") == "1,000 noisy copies"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "about 1 s"),
        (7.5, "about 10 s"),
        (42.0, "about 30 s"),
        (50.0, "about a minute"),
        (240.0, "about 5 minutes"),
        (720.0, "about 10 minutes"),
        (2700.0, "about an hour"),
        (29 * 3600.0, "about a day"),
        (40 * 86400.0, "about 50 days"),
        (1000 * 86400.0, "more than 50 days"),
    ],
)
def test_durations_are_no_more_accurate_than_estimates(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_what_terminals_cannot_have_is_escaped() -> None:
    hostile = "é\x1b]0;x\a\n\x85\u202e\udcff"
    assert not is_showable(hostile)
    assert escape_text(hostile) == r"é\x1b]0;x\x07\n\x85\u202e\udcff"
    assert escape_text("a\tb\n", keep="\t") == "a\tb\\n"
    assert escape_text("é日") == "é日"


def test_names_out_of_a_file() -> None:
    assert list_names([]) == ""
    assert list_names(iter(["a", "b\n"])) == "a, b\\n"
    assert list_names(["x" * 101]) == "x" * 100 + "…"
    many = list_names([f"{number}" for number in range(1021)])
    assert many.endswith(", 18, 19, 1,001 more")


def test_no_cell_of_a_csv_file_starts_a_formula() -> None:
    rows: list[list[object]] = [
        ["@name", "margin"],
        ["=1+1", "-1.5e-03"],
        ["-1+1", -2],
        ["+x", None],
        ["a=b", "-inf"],
    ]
    assert format_csv(rows).splitlines() == [
        *("'@name,margin", "'=1+1,-1.5e-03", "'-1+1,-2", "'+x,", "a=b,-inf"),
    ]
