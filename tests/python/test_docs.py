"""The reader of the pages' commands, the comparison of outputs, and the pages' links."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from blocks import read_blocks
from outputs import align, clean, refresh
from run_commands import CHECKOUT, pages

PAGE = """\
# A page

<!-- slow: an hour -->
```console
$ first --option \\
    more
shown
$ second
```
<!-- run: hidden -->

```python
print(1)
```

```text
1
```

```yaml
name: not run
```
"""


def _page(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


def test_commands_and_what_is_shown_for_them_are_read(tmp_path: Path) -> None:
    console, hidden, python = read_blocks(_page(tmp_path, PAGE))
    assert console.comments == {"slow": "an hour"}
    assert [command.text for command in console.commands] == [
        "first --option \\\n    more",
        "second",
    ]
    assert [command.shown for command in console.commands] == [["shown"], []]
    assert (hidden.language, hidden.commands[0].text) == ("run", "hidden")
    assert (python.commands[0].text, python.commands[0].shown) == ("print(1)", ["1"])
    lines = PAGE.splitlines()
    for command in (console.commands[0], python.commands[0]):
        assert lines[command.first : command.first + 1] == command.shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```\nls\n```\n", "page.md:1: a block without a language"),
        ("```console\n$ ls\n", "page.md:1: the block does not end"),
        ("```console\nls\n```\n", "page.md:2: the block begins without a command"),
        ("<!-- slow: x -->\n\ntext\n", "page.md:2: a comment for the runner without a block"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_blocks(_page(tmp_path, text))


@pytest.mark.parametrize(
    ("shown", "got", "same"),
    [
        (["accuracy = 0.99"], ["accuracy = 0.981"], True),
        (["accuracy = 0.99"], ["loss = 0.99"], False),
        (["LeNet   1.0 ± 2"], ["LeNet  10.25 ± 13"], True),
        (["─────"], ["──"], True),
        (["..."], [], True),
        (["a", "...", "b"], ["a", "x", "y", "b"], True),
        (["a", "...", "b"], ["a", "x", "b", "y"], False),
        (["a", "b"], ["a"], False),
        (["a"], ["a", "b"], False),
        (["images: ... of 10"], ["images: the first 3 of 300"], True),
        (["conv1 runs"], ["conv2 runs"], False),
    ],
)
def test_outputs_are_compared_apart_from_numbers(
    shown: list[str], got: list[str], same: bool
) -> None:
    assert (align(shown, got) is not None) == same


def test_exact_outputs_are_compared_with_their_numbers() -> None:
    assert align(["PASS 1.0"], ["PASS  1.0"], exact=True) is not None
    assert align(["PASS 1.0"], ["PASS 1.1"], exact=True) is None


def test_refreshed_output_has_the_new_numbers_and_the_old_ellipses() -> None:
    assert refresh(["a 1", "...", "b 2"], ["a 3", "x", "b 4"]) == ["a 3", "...", "b 4"]
    assert refresh(["a 1"], ["c", "d"]) == ["c", "d"]


def test_colours_bars_and_prefixes_are_no_output() -> None:
    output = (
        "\x1b[1mbold\x1b[0m\n 10%\r100%\nI20261129 04:07:10.119691 15801 caffe.cpp:222] CPU\n\n"
    )
    assert clean(output) == ["bold", "100%", "CPU"]
    assert clean("") == []


def test_all_pages_are_in_the_navigation_and_can_be_read() -> None:
    found = pages(CHECKOUT)
    assert set(found) == {CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md")}
    assert sum(len(read_blocks(page)) for page in found) > 20


def test_links_lead_to_files() -> None:
    others = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
    for page in [*pages(CHECKOUT), *map(CHECKOUT.joinpath, others)]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" not in target and not target.startswith("#"):
                assert (page.parent / target.split("#")[0]).exists(), f"{page}: {target}"


DOTTED = re.compile(r"\bcaffe_ext(?:\.[A-Za-z_]\w*)+")
IMPORTED = re.compile(r"^from (caffe_ext[\w.]*) import ([\w, ]+)$", re.MULTILINE)
FILES = {"caffe_ext.def", "caffe_ext.libs", "caffe_ext.proto", "caffe_ext.sif"}
"""Names of files that look like names in the package."""


def _names(text: str) -> set[str]:
    """Return the dotted names of the package that a page mentions, and those that it imports."""
    imported = {
        f"{module}.{name.split(' as ')[0].strip()}"
        for module, names in IMPORTED.findall(text)
        for name in names.split(",")
    }
    return set(DOTTED.findall(text)) - FILES | imported


def _source(name: str) -> Path | None:
    """Return the file of a module or package of this name."""
    path = CHECKOUT / "caffe_ext/python" / name.replace(".", "/")
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


def _check_name(name: str) -> None:
    """Import what a dotted name is; of a module that needs a package that is not there, read it."""
    parent, _, last = name.rpartition(".")
    if _source(name):
        parent, last = name, ""
    source = _source(parent)
    assert source is not None, name
    try:
        module = import_module(parent)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("caffe_ext"):
            raise
        assert re.search(rf"^(def|class) {last}", source.read_text(), re.MULTILINE), name
    else:
        assert not last or hasattr(module, last), name


@pytest.mark.parametrize("page", pages(CHECKOUT), ids=lambda page: page.name)
def test_names_of_the_package_exist(page: Path) -> None:
    for name in sorted(_names(page.read_text())):
        _check_name(name)


@pytest.mark.parametrize("name", ["caffe_ext.attack", "caffe_ext.data.open_image"])
def test_names_that_do_not_exist_are_found(name: str) -> None:
    with pytest.raises(AssertionError, match=name):
        _check_name(name)


def test_names_in_pages_are_found() -> None:
    text = "`caffe_ext.data.open_images` of caffe_ext.proto\nfrom caffe_ext.a import b, c as d\n"
    assert _names(text) == {
        *("caffe_ext.data.open_images", "caffe_ext.a", "caffe_ext.a.b", "caffe_ext.a.c")
    }
