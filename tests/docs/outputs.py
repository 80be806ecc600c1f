"""Whether a command's output is what a page shows, apart from the numbers.

A shown line "..." stands for any number of lines, "..." within a line for any text. Other lines
must be the same but for the numbers in them, the width of columns and the length of rules: times,
rates and accuracies differ from machine to machine.
"""

import re

ELLIPSIS = "..."
_NUMBER = re.compile(r"(?<![A-Za-z])[-−]?\d+(,\d{3})*(\.\d+)?(e[-+]?\d+)?%?|\bnan\b")
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Severity, date, time, thread and place of the lines that glog writes.
_GLOG = re.compile(r"^[IWEF]\d{4,8} \d\d:\d\d:\d\d\.\d+ +\d+ [\w.]+:\d+\] ")


def clean(output: str) -> list[str]:
    """Return the lines as a page shows them: no colours, progress bars, or prefixes of glog."""
    lines = []
    for line in _TERMINAL.sub("", output).rstrip().split("\n"):
        last = line.rstrip("\r").rpartition("\r")[2]  # a progress bar overwrites its line
        lines.append(_GLOG.sub("", last).rstrip())
    return lines if lines != [""] else []


def align(shown: list[str], got: list[str], exact: bool = False) -> list[int | None] | None:
    """Return for each shown line the index of the line of output that it is; None for "...".

    Returns None if the output is not what is shown.
    """
    patterns = [_pattern(line, exact) for line in shown]
    got = [_normal(line, exact) for line in got]

    # fits[i][j]: the shown lines from i on are the output's lines from j on.
    fits = [[False] * (len(got) + 1) for _ in range(len(shown) + 1)]
    fits[-1][-1] = True
    for i in reversed(range(len(shown))):
        for j in reversed(range(len(got) + 1)):
            if shown[i].strip() == ELLIPSIS:
                fits[i][j] = fits[i + 1][j] or (j < len(got) and fits[i][j + 1])
            else:
                fits[i][j] = (
                    j < len(got) and fits[i + 1][j + 1] and bool(patterns[i].fullmatch(got[j]))
                )
    if not fits[0][0]:
        return None
    found: list[int | None] = []
    j = 0
    for i, line in enumerate(shown):
        if line.strip() == ELLIPSIS:
            while not fits[i + 1][j]:
                j += 1
            found.append(None)
        else:
            found.append(j)
            j += 1
    return found


def refresh(shown: list[str], got: list[str], exact: bool = False) -> list[str]:
    """Return the shown lines with the output's numbers; all of the output where it differs."""
    found = align(shown, got, exact)
    if found is None:
        return got
    return [
        line if index is None or ELLIPSIS in line else got[index]
        for line, index in zip(shown, found, strict=True)
    ]


def _normal(line: str, exact: bool) -> str:
    line = re.sub(r"─+", "─", re.sub(r"\s+", " ", line.strip()))
    return line if exact else _NUMBER.sub("#", line)


def _pattern(line: str, exact: bool) -> re.Pattern[str]:
    return re.compile(".*?".join(re.escape(_normal(p, exact)) for p in line.split(ELLIPSIS)))
