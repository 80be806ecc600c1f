"""runtime/trial_build.py: a network is built in another process first, once, without traces."""

import os
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest

from caffe_ext.runtime import trial_build
from caffe_ext.runtime.trial_build import check_builds
from classifier_models import LINEAR

WRONG = LINEAR.replace("bottom: 'data'", "bottom: 'dat'")


@pytest.fixture(autouse=True)
def forgotten() -> None:
    check_builds.cache_clear()


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list of what is forked from now on."""
    fork, forked = os.fork, list[int]()

    def noted() -> int:
        child = fork()
        forked.append(child)
        return child

    monkeypatch.setattr(os, "fork", noted)
    return forked


def gone(child: int) -> bool:
    try:
        os.waitpid(child, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def test_what_can_be_built_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    check_builds(LINEAR)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("once more"))
    check_builds(LINEAR)


def test_no_core_is_dumped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: list[int]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # what is wrong may be put right: it is tried again
        with pytest.raises(ValueError, match="Unknown bottom blob 'dat'"):
            check_builds(WRONG)
    assert list(tmp_path.iterdir()) == []
    assert len(children) == 2
    assert all(map(gone, children))


def test_without_a_further_process_nothing_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    check_builds(WRONG)


def test_an_interrupted_wait_ends_the_child(
    monkeypatch: pytest.MonkeyPatch, children: list[int]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("select.poll", interrupted)
        check_builds(LINEAR)
    assert len(children) == 1
    assert gone(children[0])


@pytest.mark.parametrize("text", [LINEAR, WRONG])
def test_where_nobody_is_told_of_ended_children(text: str) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with nullcontext() if text == LINEAR else pytest.raises(ValueError, match="'dat'"):
            check_builds(text)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_another_number_of_images() -> None:
    """Caffe would end the process in a reshape, too."""
    scale = "layer { name: 's' type: 'Scale' bottom: 'data' top: 's' scale_param { axis: 0 } }"
    check_builds(LINEAR + scale, batch_size=1)
    refused = pytest.raises(ValueError, match=r"^with another number of images: layer 's': ")
    with refused:
        check_builds(LINEAR + scale, batch_size=100)
    with refused:
        check_builds(LINEAR.replace("dim: 1 ", "dim: 3 ", 1) + scale, batch_size=1)


def test_a_child_that_does_not_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, children: list[int]
) -> None:
    monkeypatch.setattr(trial_build, "_PATIENCE", 0.0)
    check_builds(WRONG)
    assert len(children) == 1
    assert gone(children[0])


def test_reasons() -> None:
    lines = [
        "I1122 07:01:02.123456  1234 layer_factory.hpp:77] Creating layer conv",
        "I1122 07:01:02.123456  1234 net.cpp:86] Creating Layer conv",
        "F1122 07:01:02.123456  1234 base.cpp:12] Check failed: a == b (1 vs. 2) ",
        "*** Check failure stack trace: ***",
    ]
    assert trial_build._reason(lines) == "layer 'conv': Check failed: a == b (1 vs. 2)"
    assert trial_build._reason(lines[2:]) == "Check failed: a == b (1 vs. 2)"
    assert trial_build._reason([*lines[:2], "ImportError: x", ""]) == "layer 'conv': ImportError: x"
    caffe_says = [*lines[:2], "caffe: layer 'fc': too small"]
    assert trial_build._reason(caffe_says) == "layer 'fc': too small"
    caffe_says.insert(2, trial_build._RESHAPING)
    assert trial_build._reason(caffe_says) == (
        "with another number of images: layer 'fc': too small"
    )
    lines.insert(2, trial_build._RESHAPING)
    says = "with another number of images: Check failed: a == b (1 vs. 2)"
    assert trial_build._reason(lines) == says
    assert trial_build._reason([]) == ""
