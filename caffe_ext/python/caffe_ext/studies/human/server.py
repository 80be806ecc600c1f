"""The study's pages, as a WSGI application.

The server decides which image is next, so that reloading, going back, sending an answer twice and
several open pages change nothing. A page has the pixels of one image and its position, and nothing
else: neither its label nor its number.
"""

import base64
import re
import sqlite3
from typing import Any

import cv2
from flask import Flask, abort, current_app, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException, NotFound

from caffe_ext.reporting import pluralize
from caffe_ext.studies.human.stimuli import Pixels, Stimuli
from caffe_ext.studies.human.store import AnswerStore, FullError, PositionError

SIDE = 224
"""The most CSS pixels of an image's longer side; each of its pixels is a square of whole ones."""
_SECONDS_AN_IMAGE = 3
_LARGEST_REQUEST = 4096
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; img-src data:; style-src 'self'; script-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",  # the address of a page is a personal link
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
_WRONG_LINK = (
    "This link is not valid",
    "Check that you have copied it completely. If it is lost, you can start again.",
)
_MESSAGES = {
    400: ("That did not work", "The page has sent something that is not an answer."),
    404: ("There is no such page", "Check the address."),
    409: ("This image is not next", "Go on with the image that is."),
    503: (
        "The study is busy",
        "Your last answer may not be stored. Try again in a moment; the study then shows the image "
        "that is next.",
    ),
}
_OTHER = ("That did not work", "Go back, and try again.")


def create_app(
    stimuli: Stimuli, store: AnswerStore, consent: str, most_people: int | None = None
) -> Flask:
    """Return the application.

    consent      text of the first page; an empty line ends a paragraph
    most_people  how many can start; None: any number
    """
    app = Flask("caffe_ext.studies.human", template_folder="pages", static_folder="pages/static")
    app.config.update(MAX_CONTENT_LENGTH=_LARGEST_REQUEST, PROPAGATE_EXCEPTIONS=False)
    pages = _Pages(stimuli, store, consent, most_people)
    for rule, view, method in (
        ("/", pages.show_start, "GET"),
        ("/start", pages.start, "POST"),
        ("/p/<token>", pages.show_next, "GET"),
        ("/p/<token>/answer", pages.take_answer, "POST"),
    ):
        app.add_url_rule(rule, view.__name__, view, methods=[method])
    app.register_error_handler(HTTPException, show_error)
    app.register_error_handler(sqlite3.Error, show_unavailable)
    app.after_request(add_headers)
    return app


class _Pages:
    """The pages of one study."""

    def __init__(
        self, stimuli: Stimuli, store: AnswerStore, consent: str, most_people: int | None
    ) -> None:
        self._stimuli, self._store, self._most = stimuli, store, most_people
        self._consent = [" ".join(part.split()) for part in re.split(r"\n\s*\n", consent)]

    def show_start(self) -> Any:
        """Show the text that people agree to, and the button to start."""
        total = self._stimuli.per_person
        minutes = max(1, round(total * _SECONDS_AN_IMAGE / 60))
        return render_template(
            "start.html",
            consent=filter(None, self._consent),
            total=total,
            time=pluralize(minutes, "minute"),
        )

    def start(self) -> Any:
        """Add a person, and go to the personal link."""
        try:
            token = self._store.add_person(self._stimuli.draw, self._most)
        except FullError:
            return _render_message(
                ("The study is complete", "Thank you, but no more people are needed."), 403
            )
        return redirect(url_for("show_next", token=token), 303)

    def show_next(self, token: str) -> Any:
        """Show the image that is next, or that there is none left."""
        trial = self._store.show_next(self._find_person(token))
        if trial is None:
            return render_template("finished.html", total=self._stimuli.per_person)
        image = self._stimuli.get_image(trial.subset, trial.image)
        height, width = image.shape
        scale = max(1, SIDE // max(height, width))
        return render_template(
            "image.html",
            token=token,
            trial=trial,
            image=encode_image(image),
            height=scale * height,
            width=scale * width,
        )

    def take_answer(self, token: str) -> Any:
        """Save an answer, and go to the image that is next."""
        person = self._find_person(token)
        position, answer = (_read_number(name) for name in ("position", "answer"))
        if answer > 9:
            abort(400)
        try:
            self._store.save_answer(person, position, answer)
        except PositionError:
            return _render_message(
                _MESSAGES[409], 409, (url_for("show_next", token=token), "Go on")
            )
        return redirect(url_for("show_next", token=token), 303)

    def _find_person(self, token: str) -> int:
        person = self._store.find_person(token)
        if person is None:
            raise NotFound(response=_render_message(_WRONG_LINK, 404))
        return person


def encode_image(image: Pixels) -> str:
    """Return an image, uint8 (H, W), as the URL of a PNG that has nothing but its pixels."""
    _, content = cv2.imencode(".png", image)
    return f"data:image/png;base64,{base64.b64encode(content.tobytes()).decode()}"


def show_error(error: HTTPException) -> Any:
    """Show an error of HTTP as a page."""
    if error.response is not None:
        return error.response
    code = error.code or 500
    message = _render_message(_MESSAGES.get(code, _OTHER), code)
    if code == 405:
        message.headers["Allow"] = error.get_response().headers["Allow"]
    return message


def show_unavailable(error: sqlite3.Error) -> Any:
    """Say that the answers cannot be read or written at the moment."""
    current_app.logger.error("the answers cannot be read or written: %s", error)
    return _render_message(_MESSAGES[503], 503, (request.path, "Try again"))


def add_headers(response: Any) -> Any:
    """Add headers that keep pages out of caches, and other sites out of pages."""
    response.headers.update(_HEADERS)
    if request.endpoint == "static":
        response.headers["Cache-Control"] = "no-cache"  # asked for each time, sent if changed
    return response


def _read_number(name: str) -> int:
    """Return a field of the form, a small whole number; any other content ends with 400."""
    values = request.form.getlist(name)
    if len(values) != 1 or not re.fullmatch("[0-9]{1,6}", values[0]):
        abort(400)
    return int(values[0])


def _render_message(
    message: tuple[str, str], code: int, onward: tuple[str, str] | None = None
) -> Any:
    heading, text = message
    link, label = onward or (url_for("show_start"), "To the first page")
    page = render_template("message.html", heading=heading, text=text, link=link, label=label)
    return current_app.make_response((page, code))
