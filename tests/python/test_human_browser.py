"""The human study in a real browser: by keyboard only, at a phone's width, two people at once.

With CAFFE_EXT_SCREENSHOTS=DIR, it writes pictures of the pages.
"""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flask", reason="Flask is not installed: the extra `study`")
pytest.importorskip("waitress", reason="waitress is not installed: the extra `study`")

import waitress

from browser import CHROMIUM, Browser, BrowserPage
from caffe_ext.studies.human.serve import read_consent
from caffe_ext.studies.human.server import create_app
from caffe_ext.studies.human.stimuli import Stimuli
from caffe_ext.studies.human.store import AnswerStore
from human_samples import write_stimuli

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
WIDTH, HEIGHT = 320, 568
IMAGES = 23
# The contrast of each text with what is behind it, as WCAG 2 defines it.
CONTRASTS = """
(() => {
  const parse = (text) => text.match(/[0-9.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = parse(colour).slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (parse(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("h1, p, a, button, label")].map((element) => {
    const pair = [luminance(getComputedStyle(element).color), luminance(behind(element))];
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  });
})()
"""
LAYOUT = """
(() => {
  const boxes = [...document.querySelectorAll("img, .digits button")].map((element) => {
    const box = element.getBoundingClientRect();
    return [box.left, box.top, box.right, box.bottom];
  });
  return {
    boxes,
    wide: document.documentElement.scrollWidth,
    rendering: getComputedStyle(document.querySelector("img")).imageRendering,
  };
})()
"""


class Server:
    """A study, served on a free port."""

    def __init__(self, folder: Path) -> None:
        self.stimuli: Stimuli = write_stimuli(folder)
        self.store = AnswerStore(folder, self.stimuli.digest)
        app = create_app(self.stimuli, self.store, read_consent(None))
        self._server = waitress.create_server(app, host="127.0.0.1", port=0)
        self.address = f"http://127.0.0.1:{self._server.effective_port}/"
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.close()
        self._thread.join(10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "study")
    yield server
    server.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as browser:
        yield browser


def take_screenshot(page: BrowserPage, name: str) -> None:
    folder = os.environ.get("CAFFE_EXT_SCREENSHOTS")
    if folder:
        page.take_screenshot(Path(folder) / f"{name}.png")


def start(page: BrowserPage, address: str) -> str:
    """Agree by keyboard; return the personal link."""
    page.call("Page.navigate", url=address)
    page.wait_until("document.readyState === 'complete' && !!document.querySelector('button.main')")
    check_page(page)
    page.press("Tab")
    assert page.evaluate("document.activeElement.className") == "main"
    take_screenshot(page, "start")
    page.press("Enter")
    wait_for_image(page, 1)
    return str(page.evaluate("location.href"))


def wait_for_image(page: BrowserPage, number: int) -> None:
    """Wait for an image, until keys count."""
    page.wait_until("document.title", f"Image {number} of {IMAGES}".__eq__)
    page.wait_until("document.readyState === 'complete'")
    time.sleep(0.2)  # keys count 150 ms after that


def check_page(page: BrowserPage) -> None:
    """Check what holds for all pages: no sideways scrolling, and legible text."""
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH
    contrasts = page.evaluate(CONTRASTS)
    assert contrasts
    assert min(contrasts) >= 4.5


def check_image(page: BrowserPage) -> None:
    """Check that the image and all buttons are seen at once, the image crisp and of one size."""
    check_page(page)
    layout: dict[str, Any] = page.evaluate(LAYOUT)
    image, *buttons = layout["boxes"]
    assert (image[2] - image[0], image[3] - image[1]) == (224, 224)
    assert layout["rendering"] == "pixelated"
    assert len(buttons) == 10
    for left, top, right, bottom in (image, *buttons):
        assert 0 <= left < right <= WIDTH
        assert 0 <= top < bottom <= HEIGHT
    assert min(min(right - left, bottom - top) for left, top, right, bottom in buttons) >= 44


def test_two_sessions_by_keyboard(server: Server, browser: Browser) -> None:
    one = browser.open_page(WIDTH, HEIGHT)
    other = browser.open_page(WIDTH, HEIGHT, scripts=False)
    links = [start(page, server.address) for page in (one, other)]
    assert links[0] != links[1]
    expected = []
    for position in range(IMAGES):
        if position == 11:
            one.call("Page.reload")
            wait_for_image(one, position + 1)
        if position == 15:  # a key that is held down, or that has another meaning
            one.press("9", repeat=True)
            one.press("x")
            assert one.evaluate("document.title") == f"Image {position + 1} of {IMAGES}"
        if position == 17:  # on another device
            one = browser.open_page(WIDTH, HEIGHT)
            one.call("Page.navigate", url=links[0])
            wait_for_image(one, position + 1)
        check_image(one)
        one.press(f"{(position + 3) % 10}")
        expected.append((1, position, (position + 3) % 10))
        if position < IMAGES - 1:
            wait_for_image(one, position + 2)
        if position < 3:  # without JavaScript: the button of the digit
            for _ in range(position + 1):
                other.press("Tab")
            take_screenshot(other, "button")
            other.press("Enter")
            wait_for_image(other, position + 2)
            expected.append((2, position, position))
        if position == 0:
            take_screenshot(one, "image")
    one.wait_until("document.title", "Finished".__eq__)
    check_page(one)
    take_screenshot(one, "finished")
    found = server.store.read_answers(unfinished=True)
    assert [(x.person, x.position, x.answer) for x in found] == sorted(expected)
    assert server.store.count_people() == (2, 1)


def test_going_back_and_wrong_links(server: Server, browser: Browser) -> None:
    page = browser.open_page(WIDTH, HEIGHT)
    link = start(page, server.address)
    page.press("4")
    wait_for_image(page, 2)
    page.press("5")
    wait_for_image(page, 3)
    # The link is the same for all images: going back shows the one that is next.
    page.evaluate("window.before = true")
    page.evaluate("history.back()")
    page.wait_until("window.before === undefined")
    wait_for_image(page, 3)
    answers = [one.answer for one in server.store.read_answers(unfinished=True)]
    assert answers == [4, 5]
    page.call("Page.navigate", url=f"{link}x")
    page.wait_until("document.title", "This link is not valid".__eq__)
    check_page(page)
    take_screenshot(page, "wrong_link")
    page.press("Tab")
    page.press("Enter")
    page.wait_until("!!document.querySelector('button.main')")
