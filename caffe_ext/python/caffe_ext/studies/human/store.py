"""AnswerStore: the people who take part and their answers, in an SQLite file.

A person is a number and the hash of a random token, which is in the personal link. What is stored
besides are the images that the person sees, the answers, and the seconds that they took. There is
no name, no address, no browser, no date.
"""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from caffe_ext.errors import RecordError
from caffe_ext.reporting import escape_text
from caffe_ext.runtime.checkout import shorten_path
from caffe_ext.storage.json_file import Count, validate

ANSWERS = "answers.sqlite"
_WAIT_SECONDS = 10.0
_TOKEN_BYTES = 16
_FORMAT = "1"
_SCHEMA = """
create table about (name text primary key, value text not null) without rowid;
create table person (number integer primary key, token text not null unique);
create table trial (
    person integer not null references person,
    position integer not null,
    subset integer not null,
    image integer not null,
    shown real,
    answer integer check (answer between 0 and 9),
    seconds real,
    primary key (person, position)
) without rowid;
"""


class FullError(Exception):
    """No more people can take part."""


class PositionError(Exception):
    """An answer to an image that has not been shown yet."""


@dataclass(frozen=True)
class Trial:
    """An image that a person is to classify.

    position  in the order of this person's images, from 0
    total     how many the person sees
    subset    its number, as in stimuli.get_subset()
    image     its number in the subset
    """

    position: int
    total: int
    subset: int
    image: int


@dataclass(frozen=True)
class Answer:
    """What a person took an image for.

    person    the person's number, from 1
    position  in the order of this person's images, from 0
    subset    its number, as in stimuli.get_subset()
    image     its number in the subset
    answer    0..9
    seconds   from sending the image to receiving the answer
    """

    person: Count
    position: Count
    subset: Count
    image: Count
    answer: Annotated[int, Meta(ge=0, le=9)]
    seconds: Annotated[float, Meta(ge=0)]


class AnswerStore:
    """The people and answers of one study; any number of threads and processes may use it.

    Whatever interrupts a call, an answer is stored completely or not at all.
    """

    def __init__(
        self, folder: Path, digest: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open the file in a study's folder, or create it.

        digest  of the stimuli
        clock   returns seconds since any moment: the date is not stored

        Raises RecordError if it is damaged, or has answers to other stimuli.
        """
        self._path, self._clock = folder / ANSWERS, clock
        with _explain_damage(self._path), self._change() as connection:
            found = self._read_about(connection)
            if not found:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    connection.execute(statement)
                found = {"format": _FORMAT, "stimuli": digest}
                connection.executemany("insert into about values (?, ?)", found.items())
        if found != {"format": _FORMAT, "stimuli": digest}:
            raise RecordError(
                f"{shorten_path(self._path)} has answers to other stimuli; choose another --output"
            )

    def add_person(
        self, draw: Callable[[int], Sequence[tuple[int, int]]], most: int | None = None
    ) -> str:
        """Add a person, and return the token of the personal link.

        draw  returns the (subset, image) that the person with this number sees, in their order
        most  people; None: any number

        Raises FullError if there are as many already.
        """
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        with self._change() as connection:
            (last,) = connection.execute("select coalesce(max(number), 0) from person").fetchone()
            if most is not None and last >= most:
                raise FullError
            number = last + 1
            connection.execute("insert into person values (?, ?)", (number, _hash(token)))
            connection.executemany(
                "insert into trial (person, position, subset, image) values (?, ?, ?, ?)",
                ((number, place, *drawn) for place, drawn in enumerate(draw(number))),
            )
        return token

    def find_person(self, token: str) -> int | None:
        """Return the number of the person with this token; None if there is none."""
        with self._open() as connection:
            found = connection.execute(
                "select number from person where token = ?", (_hash(token),)
            ).fetchone()
        return found and int(found[0])

    def show_next(self, person: int) -> Trial | None:
        """Return the image that is to be answered next, and start its time; None: all are."""
        with self._change() as connection:
            trial = _find_next(connection, person)
            if trial:
                connection.execute(
                    "update trial set shown = ? where person = ? and position = ?",
                    (self._clock(), person, trial.position),
                )
        return trial

    def save_answer(self, person: int, position: int, answer: int) -> None:
        """Save an answer, 0..9; the first one to an image counts, others change nothing.

        Raises PositionError for an image that has not been shown yet.
        """
        now = self._clock()
        with self._change() as connection:
            trial = _find_next(connection, person)
            if trial is None or position < trial.position:
                return
            done = connection.execute(
                "update trial set answer = ?, seconds = max(0, ? - shown), shown = null "
                "where person = ? and position = ? and position = ? and shown is not null",
                (answer, now, person, position, trial.position),
            )
            if done.rowcount != 1:
                raise PositionError

    def count_people(self) -> tuple[int, int]:
        """Return how many people have begun to answer, and how many have finished.

        Raises RecordError for a damaged file.
        """
        with _explain_damage(self._path), self._open() as connection:
            begun, finished = connection.execute(
                "select count(*), coalesce(sum(answered = shown), 0) from (select count(answer) "
                "as answered, count(*) as shown from trial group by person) where answered > 0"
            ).fetchone()
        return int(begun), int(finished)

    def read_answers(self, *, unfinished: bool = False) -> list[Answer]:
        """Return the answers by person and position; unfinished: also of people who stopped.

        Raises RecordError for a damaged file.
        """
        condition = (
            ""
            if unfinished
            else "and person not in (select person from trial where answer is null)"
        )
        with _explain_damage(self._path), self._open() as connection:
            rows = connection.execute(
                "select person, position, subset, image, answer, seconds from trial "
                f"where answer is not null {condition} order by person, position"
            ).fetchall()
            return [
                validate(dict(zip(Answer.__dataclass_fields__, row, strict=True)), Answer)
                for row in rows
            ]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection of the thread's own."""
        connection = sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection on which all that is done is one transaction."""
        with self._open() as connection:
            connection.execute("begin immediate")
            try:
                yield connection
            except BaseException:
                connection.execute("rollback")
                raise
            connection.execute("commit")

    @staticmethod
    def _read_about(connection: sqlite3.Connection) -> dict[str, str]:
        """Return what the file says of itself; nothing if it is new."""
        if not connection.execute("select 1 from sqlite_master limit 1").fetchone():
            return {}
        return dict(connection.execute("select name, value from about"))


def has_people(folder: Path) -> bool:
    """Tell whether people have started in a study's folder; True, too, if that cannot be read."""
    path = folder / ANSWERS
    if not path.exists() or path.stat().st_size == 0:
        return False
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            return bool(connection.execute("select exists (select 1 from person)").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error:
        return True


@contextmanager
def _explain_damage(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a file that it cannot use, and wrong values, into a RecordError."""
    try:
        yield
    except (sqlite3.DatabaseError, ValueError) as error:
        # It may quote what it has read.
        reason = escape_text(f"{error}")
        raise RecordError(
            f"{shorten_path(path)} cannot be used as a database ({reason})"
        ) from error


def _find_next(connection: sqlite3.Connection, person: int) -> Trial | None:
    """Return the first image of a person that is not answered."""
    row = connection.execute(
        "select position, (select count(*) from trial where person = ?), subset, image from trial "
        "where person = ? and answer is null order by position limit 1",
        (person, person),
    ).fetchone()
    return row and Trial(*row)


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "backslashreplace")).hexdigest()
