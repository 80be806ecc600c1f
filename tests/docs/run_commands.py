"""Run the commands in README.md and docs/, and compare what they print with what is shown there.

    python tests/docs/run_commands.py             those that are fast
    python tests/docs/run_commands.py --slow      all of them
    python tests/docs/run_commands.py --update    put the new output in place of the old
    python tests/docs/run_commands.py bang pass   the commands of these pages

They run one after another, page by page in the order of mkdocs.yml, in a copy of the checkout:
BUILD/docs/checkout. blocks.py says what is read in a page, outputs.py how outputs are compared. The
exit status is 0 if every command succeeded and printed what is shown.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import yaml
from blocks import Block, Command, read_blocks
from outputs import align, clean, refresh

CHECKOUT = Path(__file__).resolve().parents[2]
# What is not copied: outputs of builds, and what commands have made in the checkout.
LEFT_OUT = ("build*", ".git", "data", "snapshots", ".*_cache", ".hypothesis")
SECONDS = {False: 900, True: 7200}


def _in_folder(variable: str, *names: str) -> Callable[[], bool]:
    folder = Path(os.environ.get(variable) or "/nonexistent")
    return lambda: all(any(folder.rglob(name)) for name in names)


NEEDS: dict[str, Callable[[], bool]] = {
    "mnist": _in_folder("CAFFE_EXT_DATA", "t10k-images*"),
    "cifar10": _in_folder("CAFFE_EXT_DATA", "cifar-10-binary.tar*"),
    "models": _in_folder("CAFFE_EXT_MODELS", "lenet_R0.caffemodel.h5", "lenet_B1.caffemodel.h5"),
    "no gpu": lambda: shutil.which("nvidia-smi") is None,
    "onnx": lambda: find_spec("onnxruntime") is not None,
    "dask": lambda: find_spec("distributed") is not None,
}
"""What `<!-- needs: NAME -->` asks for."""


def pages(checkout: Path) -> list[Path]:
    """Return README.md and the pages of the site, in the order of its navigation."""
    navigation = yaml.safe_load((checkout / "mkdocs.yml").read_text())["nav"]
    names = []

    def collect(entry: object) -> None:
        if isinstance(entry, str) and (checkout / "docs" / entry).exists():
            names.append(entry)
        elif isinstance(entry, list):
            for inner in entry:
                collect(inner)
        elif isinstance(entry, dict):
            collect(list(entry.values()))

    collect(navigation)
    return [checkout / "README.md", *(checkout / "docs" / name for name in names)]


def copy_checkout(folder: Path, build: Path) -> None:
    """Make the copy in which the commands run, with the programs of a build."""
    shutil.rmtree(folder, ignore_errors=True)
    top = shutil.ignore_patterns(*LEFT_OUT)
    anywhere = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(
        CHECKOUT,
        folder,
        ignore=lambda where, names: (top if Path(where) == CHECKOUT else anywhere)(where, names),
    )
    (folder / "build").mkdir()
    for name in ("venv", "bin", "lib", "python"):
        (folder / "build" / name).symlink_to(build / name)


def why_skipped(block: Block, slow: bool) -> str | None:
    """Return why a block is not run, None if it is."""
    if "skip" in block.comments:
        return block.comments["skip"]
    if "slow" in block.comments and not slow:
        return f"slow: {block.comments['slow']}"
    for need in filter(None, block.comments.get("needs", "").split(", ")):
        if not NEEDS[need]():
            return f"needs {need}"
    return None


def run(command: str, language: str, folder: Path, build: Path, seconds: int) -> tuple[int, str]:
    """Run one command; return its exit status and what it printed.

    Raises subprocess.TimeoutExpired.
    """
    done = subprocess.run(
        ["python" if language == "python" else "bash", "-c", command],
        cwd=folder,
        env=os.environ
        | {
            "PATH": f"{build}/venv/bin:{build}/bin:{os.environ['PATH']}",
            # The package of the copy, not that of the checkout: it writes below its own folder.
            "PYTHONPATH": f"{folder}/caffe_ext/python",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
    return done.returncode, done.stdout


def fault(block: Block, command: Command, status: int, output: str) -> str | None:
    """Return what is wrong with a command's exit status and output, None if nothing is."""
    if (status != 0) != ("refused" in block.comments):
        return f"exit status {status}\n{output[-3000:]}"
    if not command.shown:
        return None
    got = clean(output)
    if align(command.shown, got, "exact" in block.comments) is not None:
        return None
    return "\n".join(["shown:", *command.shown, "printed:", *got])


def rewrite(page: Path, outputs: list[tuple[Command, list[str]]]) -> None:
    """Put the lines of output in place of those shown in the page."""
    lines = page.read_text().splitlines()
    for command, new in sorted(outputs, key=lambda one: -one[0].first):
        lines[command.first : command.first + len(command.shown)] = new
    page.write_text("\n".join(lines) + "\n")


@dataclass
class Runner:
    """Runs blocks in the copy of the checkout, and counts."""

    folder: Path
    build: Path
    slow: bool
    update: bool
    ran: int = 0
    failed: int = 0
    skipped: int = 0

    def run_page(self, page: Path) -> None:
        """Run a page's commands, and rewrite its output if that is asked for."""
        outputs = [output for block in read_blocks(page) for output in self._run_block(block)]
        if outputs:
            rewrite(page, outputs)

    def _run_block(self, block: Block) -> list[tuple[Command, list[str]]]:
        where = f"{block.page.relative_to(CHECKOUT)}:{block.line}"
        if reason := why_skipped(block, self.slow):
            self.skipped += 1
            print(f"skipped {where}: {reason}", flush=True)
            return []
        if "fast" in block.comments and not self.slow:
            block = replace(block, commands=[Command(block.comments["fast"], block.line)])
        outputs = []
        for command in block.commands:
            began = time.monotonic()
            try:
                status, output = run(
                    command.text, block.language, self.folder, self.build, SECONDS[self.slow]
                )
                wrong = fault(block, command, status, output)
            except subprocess.TimeoutExpired as error:
                output, wrong = "", f"not finished after {error.timeout:.0f} s"
            if self.update and command.shown and output:
                lines = refresh(command.shown, clean(output), "exact" in block.comments)
                outputs.append((command, lines))
            self.ran += 1
            self.failed += wrong is not None
            seconds = time.monotonic() - began
            first = command.text.split("\n")[0]
            print(f"{'FAILED' if wrong else 'ran'} {where}: {first} ({seconds:.0f} s)", flush=True)
            if wrong:
                print("    " + wrong.replace("\n", "\n    "), flush=True)
        return outputs


def main() -> None:
    """Run the commands of the pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("pages", nargs="*", help="names of pages, without .md (default: all)")
    parser.add_argument("--slow", action="store_true", help="run slow commands, too")
    parser.add_argument("--update", action="store_true", help="rewrite the output in the pages")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="go on in the copy of the last run, with all that was made there",
    )
    parser.add_argument("--build", type=Path, default=CHECKOUT / "build", help="(default: build)")
    parser.add_argument("--work", type=Path, help="the copy (default: BUILD/docs/checkout)")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    folder = arguments.work or build / "docs" / "checkout"
    if not (arguments.keep and folder.exists()):
        copy_checkout(folder, build)
    runner = Runner(folder, build, arguments.slow, arguments.update)
    for page in pages(CHECKOUT):
        if not arguments.pages or page.stem in arguments.pages:
            runner.run_page(page)
    print(f"{runner.ran} commands, {runner.failed} failed; {runner.skipped} blocks skipped")
    sys.exit(1 if runner.failed else 0)


if __name__ == "__main__":
    main()
