"""Results that grow are saved now and then, and at the end."""

import pytest

from caffe_ext.storage.periodic import save_periodically


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        """Begin at 0 seconds."""
        self.seconds = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


def test_results_are_saved_every_ten_seconds_and_at_the_end() -> None:
    clock, results, saved = Clock(), list[int](), list[int]()
    with save_periodically(lambda: saved.append(len(results)), clock) as note_change:
        for number in range(25):
            clock.seconds = number
            results.append(number)
            note_change()
    assert saved == [11, 21, 25]


def test_what_is_slow_to_save_is_saved_less_often() -> None:
    clock, saved = Clock(), list[float]()

    def save() -> None:
        saved.append(clock.seconds)
        clock.seconds += 3

    with save_periodically(save, clock) as note_change:
        while clock.seconds < 200:
            clock.seconds += 1
            note_change()
    assert saved == [10, 73, 136, 199]


def test_an_interruption_loses_nothing() -> None:
    saved = list[str]()

    def work() -> None:
        with save_periodically(lambda: saved.append("all")) as note_change:
            note_change()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert saved == ["all"]


def test_nothing_new_is_not_saved() -> None:
    saved = list[str]()
    with save_periodically(lambda: saved.append("all")):
        pass
    assert saved == []
