"""Build a net in a forked process first: what Caffe does not like about it ends only that one."""

import faulthandler
import os
import re
import resource
import signal
import sys
import time
import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import caffe

from caffe_ext.quiet import log_level

_GLOG = re.compile(r"(?P<severity>[IWEF])\d{4,8} [\d:.]+ +\d+ \S+:\d+\] (?P<text>.*)")
_CREATING = "creating layer "
_PATIENCE = 180.0  # seconds


@cache
def check_builds(text: str) -> None:
    """Raise ValueError, with Caffe's reason, unless Caffe can build the net of a prototxt's text.

    What can be built is not tried again. Where there can be no further process nothing is checked.
    """
    with TemporaryDirectory() as folder:
        deploy, log = Path(folder) / "deploy.prototxt", Path(folder) / "log"
        deploy.write_text(text, encoding="utf-8")
        log.touch()
        try:
            with warnings.catch_warnings():
                # Other threads do no harm: the child takes none of their locks, and soon ends.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
        except OSError:
            return
        if not child:
            _build(deploy, log)
        status = _wait(child)
        if status:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise ValueError(_reason(lines) or f"the attempt ended with status {status}")


def _build(deploy: Path, log: Path) -> NoReturn:
    """Build the net in the child, with all that is said in the log, and end without clean-up."""
    status = 1
    try:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        file = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        level = log_level()
        if level is not None:
            level.value = 0  # the log names the layers
        caffe.set_mode_cpu()
        caffe.Net(str(deploy), caffe.TEST)
        status = 0
    except SystemError:
        pass  # a Python layer's; Caffe has printed what it was
    except BaseException as error:  # nothing may leave the child
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def _wait(child: int) -> int:
    """Return a child's exit status, negative for a signal; end it where the waiting is ended.

    0, too, for a child that takes minutes: it has said nothing against the net.
    """
    ended, status, end, pause = 0, 0, time.monotonic() + _PATIENCE, 0.001
    try:
        while not ended and time.monotonic() < end:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0 if ended else pause)
            pause = min(1.2 * pause, 0.1)
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _reason(lines: list[str]) -> str:
    """Return what a log says of the end: the layer, and glog's last message or the last line."""
    layer, reason, last = "", "", ""
    for line in lines:
        found = _GLOG.fullmatch(line)
        if not found:
            last = line.strip() or last
        elif found["severity"] == "F":
            reason = found["text"].strip()
            break
        elif found["text"].lower().startswith(_CREATING):
            layer = found["text"][len(_CREATING) :].strip()
    reason = reason or last
    return f"layer '{layer}': {reason}" if layer and reason else reason
