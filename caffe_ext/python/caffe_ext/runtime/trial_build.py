"""Build a net in a forked process first: what Caffe does not like about it ends only that one."""

import faulthandler
import os
import re
import resource
import select
import signal
import sys
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import caffe

from caffe_ext.runtime.quiet import log_level

_GLOG = re.compile(r"(?P<severity>[IWEF])\d{4,8} [\d:.]+ +\d+ \S+:\d+\] (?P<text>.*)")
_CREATING = "creating layer "
_RESHAPING = "with another number of images"
_BUILT = b"+"
_PATIENCE = 180.0  # seconds


@cache
def check_builds(text: str, batch_size: int = 1) -> None:
    """Raise ValueError, with Caffe's reason, unless Caffe can build the net of a prototxt's text.

    batch_size  most images in the net at a time: with one and, if there are to be more, with two it
                is tried, too, if it has one input

    What can be built is not tried again. Where there can be no further process nothing is checked.
    """
    with TemporaryDirectory() as folder:
        deploy, log = Path(folder) / "deploy.prototxt", Path(folder) / "log"
        deploy.write_text(text, encoding="utf-8")
        log.touch()
        reader, writer = os.pipe()
        try:
            with warnings.catch_warnings():
                # Other threads do no harm: the child takes none of their locks, and soon ends.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if not child:
                _build(deploy, min(2, batch_size), log, writer)
        except OSError:
            os.close(reader)
            return
        finally:
            os.close(writer)
        if not _built(child, reader):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise ValueError(_reason(lines) or "the attempt ended without a word")


def _build(deploy: Path, most: int, log: Path, writer: int) -> NoReturn:
    """Build the net in the child, with all that is said in the log, and end without clean-up."""
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
        net = caffe.Net(str(deploy), caffe.TEST)
        if len(net.inputs) == 1:
            print(_RESHAPING)
            blob = net.blobs[net.inputs[0]]
            for images in range(1, most + 1):
                blob.reshape(images, *list(blob.shape)[1:])
                net.reshape()
        os.write(writer, _BUILT)
    except SystemError:
        pass  # a Python layer's; Caffe has printed what it was
    except BaseException as error:  # nothing may leave the child
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(0)


def _built(child: int, reader: int) -> bool:
    """Return whether a child says that it has built its net; end it where the waiting is ended.

    True, too, for a child that takes minutes: it has said nothing against the net. Its status is
    not asked for: where SIGCHLD is ignored there is none.
    """
    answered = False
    try:
        answers = select.poll()
        answers.register(reader, select.POLLIN)
        answered = bool(answers.poll(1000 * _PATIENCE))
        return not answered or os.read(reader, 1) == _BUILT
    finally:
        os.close(reader)
        if not answered:
            os.kill(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)


def _reason(lines: list[str]) -> str:
    """Return what a log says of the end: the layer, and glog's last message or the last line."""
    where, reason, last = "", "", ""
    for line in lines:
        found = _GLOG.fullmatch(line)
        if line == _RESHAPING:
            where = line
        elif not found:
            last = line.strip() or last
        elif found["severity"] == "F":
            reason = found["text"].strip()
            break
        elif found["text"].lower().startswith(_CREATING):
            where = f"layer '{found['text'][len(_CREATING) :].strip()}'"
    reason = reason or last
    return f"{where}: {reason}" if where and reason else reason
