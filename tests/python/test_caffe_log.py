"""training/log.py: Caffe's log lines as records."""

import math
from dataclasses import FrozenInstanceError

import pytest

from caffe_ext.training.log import LogParser, parse_log

# Real lines: a BANG training, shortened.
LOG = """\
I20261121 16:38:27.095389 21892 caffe.cpp:204] Use CPU.
I20261121 16:38:27.095400 21892 solver.cpp:45] Initializing solver from parameters:
test_iter: 100
base_lr: 0.01
I20261121 16:38:27.100000 21892 caffe.cpp:239] Starting Optimization
I20261121 16:38:27.100001 21892 solver.cpp:349] Iteration 0, Testing net (#0)
I20261121 16:38:28.000000 21892 solver.cpp:416]     Test net output #0: accuracy = 0.0935
I20261121 16:38:28.000001 21892 solver.cpp:416]     Test net output #1: loss = 2.38 (* 1 = 2.38 loss)
I20261121 16:38:28.100000 21892 solver.cpp:241] Iteration 0 (0 iter/s, 0.9s/100 iters), loss = 2.4
I20261121 16:38:28.100001 21892 solver.cpp:260]     Train net output #0: loss = 2.5 (* 1 = 2.5 loss)
I20261121 16:38:28.100002 21892 bang_report.cpp:15]     Train net output #1: conv1_log10_eta_mean = 1.25
I20261121 16:38:28.100003 21892 bang_report.cpp:15]     Train net output #2: ip2_log10_eta_max = 29.3
I20261121 16:38:28.100004 21892 sgd_solver.cpp:112] Iteration 0, lr = 0.01
I20261121 16:46:21.403927 21892 solver.cpp:471] Snapshotting to binary proto file s_iter_100.caffemodel
I20261121 16:46:21.406601 21892 sgd_solver.cpp:284] Snapshotting solver state to binary proto file s_iter_100.solverstate
I20261121 16:46:21.438508 21892 solver.cpp:329] Iteration 100, loss = 1.02948e-05
I20261121 16:46:21.438562 21892 solver.cpp:349] Iteration 100, Testing net (#0)
I20261121 16:46:24.703853 21903 data_layer.cpp:73] Restarting data prefetching from start.
I20261121 16:46:24.983618 21892 solver.cpp:416]     Test net output #0: accuracy = 0.9916
I20261121 16:46:24.983704 21892 solver.cpp:416]     Test net output #1: loss = 0.109 (* 1 = 0.109 loss)
I20261121 16:46:24.983712 21892 solver.cpp:334] Optimization Done.
I20261121 16:46:24.983718 21892 caffe.cpp:250] Optimization Done.
"""  # noqa: E501

RESUMED = """\
I0821 10:00:00.000000   123 caffe.cpp:239] Starting Optimization
I0821 10:00:00.000000   123 solver.cpp:241] Iteration 0 (0 iter/s, 1s/10 iters), loss = 3
I0821 10:00:00.000000   123 solver.cpp:241] Iteration 10 (9 iter/s, 1s/10 iters), loss = 2
I0821 10:00:00.000000   123 sgd_solver.cpp:284] Snapshotting solver state to HDF5 file s_iter_11.solverstate.h5
I0821 10:00:00.000000   123 solver.cpp:322] Optimization stopped early.
I0821 10:00:00.000000   123 caffe.cpp:250] Optimization Done.
I0821 10:00:00.000000   124 caffe.cpp:239] Starting Optimization
I0821 10:00:00.000000   124 solver.cpp:241] Iteration 10 (0 iter/s, 1s/10 iters), loss = 1
"""  # noqa: E501


def line(message: str, level: str = "I") -> str:
    return f"{level}0821 10:00:00.000000   123 solver.cpp:239] {message}\n"


def test_a_whole_log() -> None:
    log = parse_log(LOG)
    assert [test.iteration for test in log.tests] == [0, 100]
    assert log.tests[-1].outputs == {"accuracy": 0.9916, "loss": 0.109}
    assert log.tests[-1].loss == 0.109
    first, last = log.trains
    assert first.outputs == {"loss": 2.5, "conv1_log10_eta_mean": 1.25, "ip2_log10_eta_max": 29.3}
    assert (first.loss, first.learning_rate) == (2.4, 0.01)
    assert (last.iteration, last.loss, last.learning_rate) == (100, 1.02948e-05, None)
    assert (log.iteration, log.done, log.stopped, log.error) == (100, True, False, None)
    assert log.snapshots == ("s_iter_100.solverstate",)


def test_records_are_frozen() -> None:
    record = parse_log(LOG).trains[0]
    with pytest.raises(FrozenInstanceError):
        record.loss = 0.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        record.outputs["loss"] = 0.0  # type: ignore[index]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_growing_log(size: int) -> None:
    parser = LogParser()
    reached = []
    for start in range(0, len(LOG), size):
        parser.feed(LOG[start : start + size])
        reached.append(parser.iteration)
    assert parser.done
    assert reached == sorted(reached)
    assert parser.finish() == parse_log(LOG)


def test_a_resumed_training() -> None:
    log = parse_log(RESUMED)
    assert [(train.iteration, train.loss) for train in log.trains] == [(0, 3), (10, 1)]
    assert (log.done, log.stopped) == (False, False)
    assert log.snapshots == ("s_iter_11.solverstate.h5",)


def test_a_stopped_training_is_not_done() -> None:
    log = parse_log("".join(RESUMED.splitlines(keepends=True)[:6]))
    assert (log.done, log.stopped) == (False, True)


def test_values_that_are_not_finite() -> None:
    text = line("Iteration 5 (1 iter/s, 1s/1 iters), loss = -nan")
    text += line("    Train net output #0: loss = inf (* 1 = inf loss)")
    (record,) = parse_log(text).trains
    assert math.isnan(record.loss)
    assert record.outputs == {"loss": math.inf}


def test_several_values_and_several_nets() -> None:
    text = line("Iteration 5, Testing net (#0)")
    text += "".join(line(f"    Test net output #{i}: prob = 0.{i}") for i in range(3))
    text += line("Iteration 5, Testing net (#1)") + line("Test loss: 0.75")
    text += line("    Test net output #0: accuracy = 1")
    first, second = parse_log(text).tests
    assert first.outputs == {"prob": 0.0, "prob[1]": 0.1, "prob[2]": 0.2}
    assert (first.net, first.loss) == (0, None)
    assert (second.net, second.loss, second.outputs) == (1, 0.75, {"accuracy": 1.0})


def test_an_interrupted_test_is_none() -> None:
    text = line("Iteration 5, Testing net (#0)") + line("Test interrupted.")
    assert parse_log(text).tests == ()


def test_the_error_is_the_last_one() -> None:
    text = line("first", "E") + line("Check failed: a == b (1 vs. 2)", "F")
    text += "*** Check failure stack trace: ***\n    @     0x7f0000000000  (unknown)\n"
    assert parse_log(text).error == "Check failed: a == b (1 vs. 2)"
    assert parse_log(line("all is well")).error is None


def test_what_is_no_line_of_the_log_counts_for_nothing() -> None:
    text = "Iteration 5, loss = 3\n    Test net output #0: accuracy = 1\n"
    assert parse_log(text) == parse_log("")
