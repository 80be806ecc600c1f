"""How the programs speak and end: messages, progress bars, the exit status."""

# tqdm is imported late, as the package is by the programs: --help is instant.
# ruff: noqa: PLC0415

import os
import select
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from caffe_ext.cli.device_argument import use_device
from caffe_ext.reporting import escape_text, format_os_error
from caffe_ext.runtime.installation import explain_reinstallation
from caffe_ext.runtime.memory import map_large_blocks

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

    from caffe_ext.reporting import Step

_SOON = 0.05


class Console:
    """Shows on stderr what the work tells; progress bars only where stderr is a terminal."""

    def note(self, text: str) -> None:
        """Show a sentence."""
        print(escape_text(text), file=sys.stderr)

    def warn(self, text: str) -> None:
        """Show a sentence prominently."""
        print(f"WARNING: {escape_text(text)}", file=sys.stderr)

    @contextmanager
    def show_progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator["Step"]:
        """Show a progress bar; without a unit, one that only has a percentage and the time."""
        from tqdm import tqdm

        with tqdm(
            desc=what,
            total=total,
            initial=done,
            unit=unit,
            unit_scale=unit == "B",
            bar_format=None if unit else "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
            disable=None,
        ) as bar:
            yield bar.update


def run_program(run: Callable[[Namespace], None], arguments: Namespace) -> int:
    """Run a program on the device that the arguments name, if they do; return its exit status.

    An interruption ends it with a sentence and 130. So does, with 1, a package that is not there, a
    GPU that cannot be used, and a file that cannot be read or written. A reader of the output that
    has gone, as `head` does, ends it with 141 and no sentence. Errors of the package are
    the program's own business. Sentences that a program ends with have no control characters,
    whatever names they quote.
    """
    _prepare_streams()
    map_large_blocks()
    try:
        with _restore_interruptions():
            use_device(arguments)
            _load_extensions(arguments)
            run(arguments)
            sys.stdout.flush()
    except BrokenPipeError as error:
        if not _is_stdout_gone():
            sys.exit(f"{error}")
        return 141
    except KeyboardInterrupt as interrupt:
        sentence = f"{interrupt}" or "interrupted; run the same command again to resume"
        print(sentence, file=sys.stderr)
        return 130
    except ImportError as error:
        sys.exit(f"{error}; {explain_reinstallation()}")
    except OSError as error:
        sys.exit(escape_text(format_os_error(error)))
    except SystemExit as end:
        if isinstance(end.code, str):
            end.code = escape_text(end.code, keep="\n")
        raise
    return 0


def _is_stdout_gone() -> bool:
    """Tell whether whoever read the output has gone, as `head` does; what is left is dropped."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    gone = bool(poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def _prepare_streams() -> None:
    """Let nothing that is printed cost the results: no odd character, and no stream that is gone.

    Characters that the terminal's encoding does not have become question marks; in the C locale
    Python's default, surrogateescape, fails for them as well. What is printed into a stream that
    was closed when the program started is dropped.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")


@contextmanager
def _restore_interruptions() -> Iterator[None]:
    """Send a signal again whose exception Python could not raise, as in the middle of a fork or of
    an import, and would drop with "Exception ignored in".
    """
    usual = sys.unraisablehook

    def restore(lost: "UnraisableHookArgs") -> None:
        stops = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}
        number = stops.get(lost.exc_type)
        if number is not None and callable(signal.getsignal(number)):
            # Not before this function has returned: it could not raise it either.
            Timer(_SOON, os.kill, (os.getpid(), number)).start()
        else:
            usual(lost)

    sys.unraisablehook = restore
    try:
        yield
    finally:
        sys.unraisablehook = usual


def _load_extensions(arguments: Namespace) -> None:
    """Import the modules that register attacks of the user's own; end with a sentence if not."""
    names = getattr(arguments, "imports", None)
    if names is None:
        return
    from caffe_ext.attacks.extensions import ExtensionError, load_extensions

    try:
        load_extensions(names)
    except ExtensionError as error:
        sys.exit(f"--import: {error}")


def run_stoppable(run: Callable[[Namespace], None], arguments: Namespace) -> int:
    """Run a program that has child processes; return its exit status."""
    # SIGTERM ends this process the way errors do, so that its children end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return run_program(run, arguments)
