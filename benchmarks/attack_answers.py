"""Questions that take hours, asked in parts: what bench_attacks.py keeps of them.

Each answer is in the record as soon as it is there, and the same command goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from caffe_ext.cli.console import Console
from caffe_ext.runs.output_folder import claim_output
from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.description import check_same
from caffe_ext.storage.json_file import Object, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from bench_attacks import Survey

PART = 250
"""Images of an answer; also the batch of AutoAttack's authors, as by its default."""


@dataclass(frozen=True)
class Kind:
    """A kind of answers.

    file     the name of their record
    title    of the progress bar
    content  what of the record is read again: a dataclass with `depends` and `answers`
    """

    file: str
    title: str
    content: type[Any]


def collect_answers(
    survey: "Survey",
    record: dict[str, Any],
    kind: Kind,
    parts: Mapping[str, Callable[[], Any]],
) -> None:
    """Get all answers that are missing, and add them to the record, in its file as well.

    parts  what gives each answer, by the names of the answers

    Raises RecordError if the file is damaged or depends on something else, or if another process is
    at it.
    """
    output = survey.arguments.output
    with claim_output(output):
        path = output / kind.file
        depends = survey.identify()
        answers = {} if survey.arguments.again else read_answers(path, depends, kind)
        record |= {"depends": depends, "answers": answers}
        missing = [name for name in parts if name not in answers]
        done = len(parts) - len(missing)
        with Console().show_progress(kind.title, len(parts), "answer", done) as step:
            for name in missing:
                answers[name] = parts[name]()
                write_json(path, record)
                step(1)


def read_answers(path: "Path", depends: Object, kind: Kind) -> dict[str, Any]:
    """Return the answers in a record; RecordError if they depend on something else."""
    if not path.exists():
        return {}
    advice = "--again begins anew"
    record = read_json(path, kind.content, advice)
    what = f"{path} is about other models, images or libraries"
    check_same(depends, record.depends, what, f"{advice}, --output elsewhere")
    answers: dict[str, Any] = record.answers
    return answers
