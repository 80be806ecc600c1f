"""How the programs speak and end: messages, progress bars, the exit status."""

# tqdm is imported late, as the package is by the programs: --help is instant.
# ruff: noqa: PLC0415

import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING

from caffe_ext.cli.device_argument import use_device

if TYPE_CHECKING:
    from caffe_ext.reporting import Step


class Console:
    """Shows on stderr what the work tells; progress bars only where stderr is a terminal."""

    def note(self, text: str) -> None:
        """Show a sentence."""
        print(text, file=sys.stderr)

    def warn(self, text: str) -> None:
        """Show a sentence that stands out."""
        print(f"WARNING: {text}", file=sys.stderr)

    @contextmanager
    def progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator["Step"]:
        """Show a progress bar."""
        from tqdm import tqdm

        with tqdm(
            desc=what, total=total, initial=done, unit=unit, unit_scale=unit == "B", disable=None
        ) as bar:
            yield bar.update


def run_program(run: Callable[[Namespace], None], arguments: Namespace) -> int:
    """Run a program on the device that the arguments name, if they do; return its exit status.

    An interruption ends it with a sentence and 130. So does, with 1, a package that is not there, a
    GPU that cannot be used, and a file that cannot be read or written. Errors of the package are
    the program's own business.
    """
    for stream in (sys.stdout, sys.stderr):
        # A sign that the terminal's encoding does not have must not cost the results.
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
    try:
        use_device(arguments)
        run(arguments)
    except KeyboardInterrupt as interrupt:
        sentence = f"{interrupt}" or "interrupted; run the same command again to go on"
        print(sentence, file=sys.stderr)
        return 130
    except ImportError as error:
        sys.exit(f"{error}; run `make`, then `. build/venv/bin/activate`")
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}" if error.filename else f"{error}")
    return 0


def run_stoppable(run: Callable[[Namespace], None], arguments: Namespace) -> int:
    """Run a program that has child processes; return its exit status."""
    # SIGTERM ends this process the way errors do, so that its children end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return run_program(run, arguments)
