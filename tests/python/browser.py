"""A real browser for tests: Chromium without a window, driven by its own protocol over a pipe.

https://chromedevtools.github.io/devtools-protocol; it needs neither a driver nor a library.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_SECONDS = 30.0
# The browser's ends of the pipes have to be 3 and 4.
_START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for place, end in enumerate(ends, 3):
    os.dup2(end, place)
    os.close(end)
os.execv(sys.argv[3], sys.argv[3:])
"""


class BrowserError(Exception):
    """What the browser did not do."""


class Browser:
    """A browser process, for a `with`; profile: a folder for its files."""

    def __init__(self, profile: Path) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        options = [
            "--headless=new",
            "--remote-debugging-pipe",
            "--disable-gpu",
            "--disable-background-networking",
            "--no-first-run",
            f"--user-data-dir={profile}",
        ]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # which Chromium refuses to root
        ends = f"{to_browser}", f"{from_browser}"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, *ends, f"{CHROMIUM}", *options],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._last = b"", 0

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._out)  # upon which it ends
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)

    def call(self, method: str, session: str | None = None, **arguments: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": arguments}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def open_page(self, width: int, height: int, *, scripts: bool = True) -> "BrowserPage":
        """Return an empty page of its own profile, as on a phone of this size in CSS pixels."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = BrowserPage(self, session["sessionId"])
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2,
            mobile=True,
        )
        if not scripts:
            page.call("Emulation.setScriptExecutionDisabled", value=True)
        return page

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 1 << 16)
            if not part:
                raise BrowserError("the browser has ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))


class BrowserPage:
    """A page, used by its keyboard."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **arguments)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise BrowserError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait_until(self, expression: str, found: Callable[[Any], bool] = bool) -> Any:
        """Return an expression's value as soon as it is as expected."""
        end = time.monotonic() + _SECONDS
        while True:
            try:
                value = self.evaluate(expression)
            except BrowserError as error:  # between two pages
                value = error
            if not isinstance(value, BrowserError) and found(value):
                return value
            if time.monotonic() > end:
                raise BrowserError(f"{expression} is {value!r}")
            time.sleep(0.02)

    def press(self, key: str, *, repeat: bool = False) -> None:
        """Press and release a key: a digit, Tab or Enter; repeat: it has been held down."""
        code = {"Tab": 9, "Enter": 13}.get(key) or ord(key)
        key_text = {"Tab": "", "Enter": "\r"}.get(key, key)
        arguments: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": code}
        kind = "keyDown" if key_text else "rawKeyDown"
        down = arguments | ({"text": key_text} if key_text else {})
        self.call("Input.dispatchKeyEvent", type=kind, autoRepeat=repeat, **down)
        self.call("Input.dispatchKeyEvent", type="keyUp", **arguments)

    def take_screenshot(self, path: Path) -> None:
        """Write what is to be seen as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
