"""The answers as a table."""

from collections.abc import Sequence
from typing import Any

from caffe_ext.studies.human.stimuli import Stimuli, get_subset
from caffe_ext.studies.human.store import Answer

COLUMNS = ("person", "position", "image", "kind", "level", "label", "answer", "seconds")


def make_rows(stimuli: Stimuli, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return a row with COLUMNS for each answer.

    person    number, from 1
    position  of the image in the order in which the person saw them, from 1
    image     its number in the pool, or among the hard digits, from 0
    kind      natural, gradient-sign, gaussian or hard-digit
    level     epsilon or sigma, of pixels in [0, 1]; 0 without noise
    seconds   from sending the image, last time, to receiving the answer
    """
    return [
        {
            "person": one.person,
            "position": one.position + 1,
            "image": one.image,
            "kind": get_subset(one.subset).kind,
            "level": get_subset(one.subset).level,
            "label": stimuli.get_label(one.subset, one.image),
            "answer": one.answer,
            "seconds": round(one.seconds, 2),
        }
        for one in answers
    ]
