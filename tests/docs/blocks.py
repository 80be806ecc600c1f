"""The commands in a Markdown page, with the output that the page shows for them.

Read are fenced blocks of two kinds:

```console      commands behind "$ ", continued in the next line after a backslash; what follows a
                command is its output
```python       a script; a block ```text that follows at once is its output

and comments in the line above a block, which the reader does not see:

<!-- skip: REASON -->    is not run
<!-- slow: REASON -->    is run with --slow only
<!-- fast: COMMAND -->   without --slow, this command is run in its place
<!-- needs: NAME -->     is skipped where that is not on this machine; see run_commands.NEEDS;
                         several: NAME, NAME
<!-- exact -->           the output must be the same to the last digit
<!-- refused -->         the command must fail

<!-- run: COMMAND --> by itself runs a command that the page does not show.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

_COMMENT = re.compile(r"<!-- (skip|slow|fast|needs|exact|refused|run)(?:: (.*?))? -->\s*")
_FENCE = re.compile(r"```(\w*)\s*")
PROMPT = "$ "


@dataclass
class Command:
    """A command, and the lines of output shown for it: shown[0] is line `first` of the page."""

    text: str
    first: int
    shown: list[str] = field(default_factory=list)


@dataclass
class Block:
    """A fenced block that is to be run, or a hidden command.

    line       number of its first line in the page, from 1
    language   "console", "python" or "run"
    comments   what stands above it, by the comment's first word
    """

    page: Path
    line: int
    language: str
    comments: dict[str, str]
    commands: list[Command]


def read_blocks(page: Path) -> list[Block]:
    """Return a page's blocks in their order.

    Raises ValueError, with file and line, for a block or a comment that cannot be meant.
    """
    lines = page.read_text().splitlines()
    blocks: list[Block] = []
    comments: dict[str, str] = {}
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if comment := _COMMENT.fullmatch(line):
            word, text = comment[1], comment[2] or ""
            if word == "run":
                blocks.append(Block(page, number, "run", {}, [Command(text, number)]))
            else:
                comments[word] = text
            continue
        fence = _FENCE.fullmatch(line)
        if fence is None:
            if comments:
                raise ValueError(f"{page}:{number}: a comment for the runner without a block")
            continue
        end = _find_end(page, lines, number)
        inside = lines[number:end]
        if fence[1] == "console":
            commands = _console(page, number, inside)
            blocks.append(Block(page, number, "console", comments, commands))
        elif fence[1] == "python":
            blocks.append(_python(page, lines, number, end, comments))
        elif fence[1] == "":
            raise ValueError(f"{page}:{number}: a block without a language")
        comments = {}
        number = end + 1
    return blocks


def _find_end(page: Path, lines: list[str], start: int) -> int:
    for number in range(start, len(lines)):
        if lines[number] == "```":
            return number
    raise ValueError(f"{page}:{start}: the block does not end")


def _console(page: Path, start: int, lines: list[str]) -> list[Command]:
    commands: list[Command] = []
    continued = False
    for number, line in enumerate(lines, start):
        if continued:
            commands[-1].text += "\n" + line
            commands[-1].first = number + 1
        elif line.startswith(PROMPT):
            commands.append(Command(line.removeprefix(PROMPT), number + 1))
        elif commands:
            commands[-1].shown.append(line)
        else:
            raise ValueError(f"{page}:{number + 1}: the block begins without a command")
        continued = line.endswith("\\") and not commands[-1].shown
    return commands


def _python(page: Path, lines: list[str], start: int, end: int, comments: dict[str, str]) -> Block:
    command = Command("\n".join(lines[start:end]), end + 1)
    following = [line for line in lines[end + 1 : end + 3] if line]
    if following and following[0] == "```text":
        first = lines.index("```text", end) + 1
        command.first = first
        command.shown = lines[first : _find_end(page, lines, first)]
    return Block(page, start, "python", comments, [command])
