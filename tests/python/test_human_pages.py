"""The pages of the human study, without a browser: what is shown, stored, and refused."""

import base64
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("flask", reason="Flask is not installed: the extra `study`")
pytest.importorskip("waitress", reason="waitress is not installed: the extra `study`")

from caffe_ext.cli import study as program
from caffe_ext.studies.human.serve import is_local, read_consent, serve
from caffe_ext.studies.human.server import create_app
from caffe_ext.studies.human.stimuli import Stimuli
from caffe_ext.studies.human.store import ANSWERS, AnswerStore
from human_samples import write_stimuli


class Study:
    """A study of 23 images a person, its store, and a client."""

    def __init__(self, folder: Path, most_people: int | None = None) -> None:
        self.folder = folder
        self.stimuli: Stimuli = write_stimuli(folder)
        self.store = AnswerStore(folder, self.stimuli.digest)
        self.app = create_app(self.stimuli, self.store, "You agree.\n\nTo <this>.", most_people)
        self.client: Any = self.app.test_client()

    def start(self) -> str:
        """Start as another person, and return the personal link."""
        answer = self.client.post("/start")
        assert answer.status_code == 303
        return str(answer.headers["Location"])

    def answer(self, link: str, position: object, answer: object) -> Any:
        return self.client.post(f"{link}/answer", data={"position": position, "answer": answer})

    @property
    def answers(self) -> list[tuple[int, int, int]]:
        return [
            (one.person, one.position, one.answer)
            for one in self.store.read_answers(unfinished=True)
        ]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def read_image(page: str) -> Any:
    (text,) = re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    return cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED)


def test_a_whole_session(study: Study) -> None:
    page = study.client.get("/").text
    assert "<p>You agree.</p>" in page
    assert "<p>To &lt;this&gt;.</p>" in page
    link = study.start()
    drawn = study.stimuli.draw(1)
    for position, (subset, number) in enumerate(drawn):
        page = study.client.get(link).text
        assert f"Image {position + 1} of 23" in page
        assert np.array_equal(read_image(page), study.stimuli.get_image(subset, number))
        answer = study.answer(link, position, (position + 3) % 10)
        assert (answer.status_code, answer.headers["Location"]) == (303, link)
    assert "all 23 images" in study.client.get(link).text
    assert study.answers == [(1, place, (place + 3) % 10) for place in range(23)]


def test_a_page_does_not_tell_what_is_on_the_image(study: Study) -> None:
    """Two people whose next images differ in nothing but their pixels get equal pages."""
    pages = set()
    for _ in range(4):
        link = study.start()
        page = study.client.get(link).text
        pages.add(re.sub(r'src="data:[^"]*"', "", page).replace(link, ""))
    assert len(pages) == 1


def test_reloading_and_sending_twice_change_nothing(study: Study) -> None:
    link = study.start()
    first = study.client.get(link).text
    assert study.client.get(link).text == first
    for answer in (4, 5):
        assert study.answer(link, 0, answer).status_code == 303
    assert study.answers == [(1, 0, 4)]
    assert "Image 2 of 23" in study.client.get(link).text
    # The page of the first image is still open elsewhere.
    study.answer(link, 0, 6)
    assert study.answers == [(1, 0, 4)]
    page = study.answer(link, 7, 6)
    assert page.status_code == 409
    assert f'href="{link}"' in page.text
    assert study.answers == [(1, 0, 4)]


def test_it_goes_on_after_a_restart(study: Study) -> None:
    link = study.start()
    study.client.get(link)
    study.answer(link, 0, 4)
    again = Study(study.folder)
    assert "Image 2 of 23" in again.client.get(link).text


def test_two_people_at_once(study: Study) -> None:
    links = [study.start(), study.start()]
    assert links[0] != links[1]
    for position in range(2):
        for number, link in enumerate(links):
            study.client.get(link)
            study.answer(link, position, number)
    assert study.answers == [(1, 0, 0), (1, 1, 0), (2, 0, 1), (2, 1, 1)]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"position": "0"},
        {"answer": "1"},
        {"position": "0", "answer": "10"},
        {"position": "0", "answer": "-1"},
        {"position": "0", "answer": "٣"},
        {"position": "0", "answer": ""},
        {"position": "x", "answer": "1"},
        {"position": "99999999999999999999", "answer": "1"},
        {"position": ["0", "1"], "answer": "1"},
        b"\xff\x00=&&&==",
        b'{"position": 0, "answer": 1}',
    ],
)
def test_malformed_answers(study: Study, data: Any) -> None:
    link = study.start()
    study.client.get(link)
    kind = "application/json" if isinstance(data, bytes) else None
    page = study.client.post(f"{link}/answer", data=data, content_type=kind)
    assert page.status_code == 400
    assert "<h1>That did not work</h1>" in page.text
    assert study.answers == []


def test_other_malformed_requests(study: Study) -> None:
    link = study.start()
    study.client.get(link)
    large = study.client.post(f"{link}/answer", data={"position": "0", "answer": "1" * 9999})
    assert large.status_code == 413
    broken = study.client.post(
        f"{link}/answer", data=b"--x\r\n", content_type="multipart/form-data; boundary=x"
    )
    assert broken.status_code == 400
    for path, method in ((link, "post"), ("/start", "get"), (f"{link}/answer", "get")):
        page = getattr(study.client, method)(path)
        assert page.status_code == 405
        assert page.headers["Allow"]
    for page in (large, broken):
        assert "Traceback" not in page.text
        assert page.headers["Content-Type"].startswith("text/html")
    assert study.answers == []


@pytest.mark.parametrize(
    "path", ["/p/wrong", "/p/%00", "/p/%FF%FE", "/p/' or 1=1 --", f"/p/{'x' * 5000}"]
)
def test_a_wrong_link(study: Study, path: str) -> None:
    study.start()
    for page in (study.client.get(path), study.client.post(f"{path}/answer")):
        assert page.status_code == 404
        assert "This link is not valid" in page.text
        assert 'href="/"' in page.text
    other = study.client.get("/no/such/page")
    assert other.status_code == 404
    assert "There is no such page" in other.text


@pytest.mark.parametrize("path", ["/static/../server.py", "/static/..%2fconsent.txt", "/pages/"])
def test_nothing_else_is_served(study: Study, path: str) -> None:
    assert study.client.get(path).status_code == 404


def test_headers(study: Study) -> None:
    link = study.start()
    for path in ("/", link, "/p/wrong"):
        headers = study.client.get(path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Set-Cookie" not in headers
    assert study.client.get("/static/study.css").headers["Cache-Control"] == "no-cache"


def test_a_study_may_be_complete(tmp_path: Path) -> None:
    study = Study(tmp_path, most_people=1)
    link = study.start()
    page = study.client.post("/start")
    assert page.status_code == 403
    assert "no more people are needed" in page.text
    assert study.client.get(link).status_code == 200


def test_a_database_that_cannot_be_used(study: Study) -> None:
    link = study.start()
    (study.folder / ANSWERS).write_bytes(b"x" * 5000)
    page = study.client.get(link)
    assert page.status_code == 503
    assert "Try again" in page.text


def test_an_answer_that_cannot_be_saved_is_not_lost_silently(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = study.start()
    study.client.get(link)

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(study.store, "save_answer", fail)
    assert study.answer(link, 0, 1).status_code == 503
    monkeypatch.undo()
    assert "Image 1 of 23" in study.client.get(link).text


def test_an_unforeseen_error_shows_nothing_of_it(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = study.start()

    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(study.store, "show_next", fail)
    page = study.client.get(link)
    assert page.status_code == 500
    assert "secret" not in page.text
    assert "<h1>" in page.text


def test_the_text_that_people_agree_to(tmp_path: Path) -> None:
    own = read_consent(None)
    assert "Taking part is voluntary." in own
    path = tmp_path / "consent.txt"
    for content, message in ((b" \n", "is empty"), (b"\xff", "not text in UTF-8")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_consent(path)


def test_where_it_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert all(map(is_local, ("127.0.0.1", "127.0.0.9", "::1", "localhost")))
    assert not any(map(is_local, ("0.0.0.0", "::", "10.0.0.1", "example.org")))
    study, addresses = Study(tmp_path), []

    def open_again(address: str) -> None:
        addresses.append(address)
        port = address.rstrip("/").rpartition(":")[2]
        arguments = ["human", "serve", "--output", f"{tmp_path}", "--port", port]
        with pytest.raises(SystemExit, match="in use; choose another --port"):
            program.main(arguments)
        assert "other machines" not in capsys.readouterr().err
        with pytest.raises(SystemExit, match="in use"):
            program.main([*arguments, "--host", "0.0.0.0"])
        assert "other machines can reach the page" in capsys.readouterr().err
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve(study.app, "127.0.0.1", 0, open_again)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", addresses[0])


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "flask", None)
    with pytest.raises(SystemExit, match=r"pip install caffe_ext\[study\]"):
        program.main(["human", "serve", "--output", f"{tmp_path}"])
