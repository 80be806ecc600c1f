"""Serve the study's pages until the program is interrupted."""

import errno
import ipaddress
import logging
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import waitress
from flask import Flask

from caffe_ext.storage.regular_file import read_regular_file

_THREADS = 4


def read_consent(path: Path | None) -> str:
    """Return the text that people agree to; None: the package's own.

    Raises ValueError for a file that is empty or not text, OSError if it cannot be read.
    """
    if path is None:
        return files("caffe_ext.studies.human").joinpath("pages/consent.txt").read_text("utf-8")
    try:
        text = read_regular_file(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 ({error})") from error
    if not text.strip():
        raise ValueError(f"{path} is empty; people must know what they agree to")
    return text


def is_local(host: str) -> bool:
    """Tell whether only this machine can reach a server with this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(app: Flask, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve an application until Ctrl-C or SIGTERM.

    port      0: any that is free
    announce  is told the address when it can be opened

    Raises ValueError if the address cannot be used.
    """
    try:
        server = waitress.create_server(app, host=host, port=port, threads=_THREADS)
    except (OSError, ValueError) as error:
        busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "it is in use; choose another --port" if busy else f"{error}"
        raise ValueError(f"cannot serve on {host}, port {port}: {why}") from error
    # One for each address of a name such as localhost.
    ((_, actual), *_) = getattr(server, "effective_listen", [(host, server.effective_port)])
    # More visitors at once than threads wait a moment: no warning is due for each.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    announce(f"http://{f'[{host}]' if ':' in host else host}:{actual}/")
    try:
        server.run()
    finally:
        server.close()
