"""The log of `caffe train` as records: outputs of the nets by iteration, and the learning rate.

    log = parse_log(Path("train.log").read_text())
    log.tests[-1].outputs["accuracy"]
    [(record.iteration, record.outputs["conv1_log10_eta_mean"]) for record in log.trains]

Only lines in Caffe's own format are read; the outputs of the solver type BANG have the same format,
so they are outputs of the training net like any other.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Old and new glog: "I0821 10:00:00.000000  123 solver.cpp:239] " and "I20180821 ...".
_PREFIX = re.compile(r"^([IWEF])\d{4,8} \d\d:\d\d:\d\d\.\d+ +\d+ [^\]]*\] ")
_NUMBER = r"([-+]?(?:[\d.]+(?:e[-+]?\d+)?|nan|inf))"
_TEST = re.compile(r"Iteration (\d+), Testing net \(#(\d+)\)")
_TRAIN = re.compile(rf"Iteration (\d+)(?: \(.*\))?, loss = {_NUMBER}")
_RATE = re.compile(rf"Iteration (\d+), lr = {_NUMBER}")
_OUTPUT = re.compile(rf" +(Train|Test) net output #\d+: (\S+) = {_NUMBER}")
_LOSS_WEIGHT = re.compile(r" \(\* .* loss\)$")
_TEST_LOSS = re.compile(rf"Test loss: {_NUMBER}")
_ITERATION = re.compile(r"Iteration (\d+)[ ,]")
_SNAPSHOT = re.compile(r"Snapshotting solver state to \w+ (?:proto )?file (.+)")


@dataclass(frozen=True)
class TrainRecord:
    """A display of the training net.

    loss           Caffe's smoothed loss (the mean of the last `average_loss` iterations)
    learning_rate  None if it was not displayed: after the last iteration
    outputs        by the names of the blobs; for a blob with several values, the second is called
                   "name[1]", the third "name[2]"
    """

    iteration: int
    loss: float
    learning_rate: float | None
    outputs: Mapping[str, float]


@dataclass(frozen=True)
class TestRecord:
    """A test of the net with the number `net`: means over its batches.

    loss  the first output with a loss weight, otherwise Caffe's "Test loss", otherwise None
    """

    __test__ = False  # for pytest, which collects classes that begin with Test

    iteration: int
    net: int
    loss: float | None
    outputs: Mapping[str, float]


@dataclass(frozen=True)
class CaffeLog:
    """The records of a log, in the order of their iterations.

    iteration   the last one in the log; 0 if none
    done        whether the training run reached its end
    stopped     whether it was stopped early, by a signal
    snapshots   the solver states that were written, in order
    error       the last line of level ERROR or FATAL, without its prefix; None if there is none
    """

    trains: tuple[TrainRecord, ...]
    tests: tuple[TestRecord, ...]
    iteration: int
    done: bool
    stopped: bool
    snapshots: tuple[str, ...]
    error: str | None


def parse_log(text: str) -> CaffeLog:
    """Return the records of a log, complete or as far as it has been written.

    A resumed training run continues in the same log; if an iteration is there twice, the later
    record is used, and everything before the iteration of resumption is kept.
    """
    parser = LogParser()
    parser.feed(text)
    return parser.finish()


class LogParser:
    """Reads a log piece by piece while it grows; `iteration` and `done` are always up to date."""

    def __init__(self) -> None:
        """Start with an empty log."""
        self._rest = ""
        self._trains: dict[int, TrainRecord] = {}
        self._tests: dict[tuple[int, int], TestRecord] = {}
        self._snapshots: list[str] = []
        self._train: TrainRecord | None = None
        self._test: TestRecord | None = None
        self._error: str | None = None
        self.iteration = 0
        self.done = self._stopped = False

    def feed(self, text: str) -> None:
        """Read further text; an incomplete line is kept until the next piece."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._take(line)

    def finish(self) -> CaffeLog:
        """Return the log; to be called once, at the end."""
        self._close()
        return CaffeLog(
            trains=tuple(self._trains[key] for key in sorted(self._trains)),
            tests=tuple(self._tests[key] for key in sorted(self._tests)),
            iteration=self.iteration,
            done=self.done,
            stopped=self._stopped,
            snapshots=tuple(self._snapshots),
            error=self._error,
        )

    def _take(self, line: str) -> None:
        prefix = _PREFIX.match(line)
        if prefix is None:
            return
        message = line[prefix.end() :]
        if prefix[1] in "EF":
            self._error = message
        elif found := _OUTPUT.match(message):
            self._take_output(message, found)
        elif message.startswith("Iteration "):
            self._take_iteration(message)
        elif found := _TEST_LOSS.match(message):
            self._add_test_loss(float(found[1]))
        elif found := _SNAPSHOT.match(message):
            self._snapshots.append(found[1])
        elif message == "Starting Optimization":
            self.done = self._stopped = False
        elif message == "Optimization stopped early.":
            self._stopped = True
        elif message == "Optimization Done.":
            self.done = not self._stopped

    def _take_iteration(self, message: str) -> None:
        if found := _RATE.match(message):
            self._add_rate(int(found[1]), float(found[2]))
        elif found := _TEST.match(message):
            self._close()
            self._test = TestRecord(int(found[1]), int(found[2]), None, {})
        elif found := _TRAIN.match(message):
            self._close()
            self._train = TrainRecord(int(found[1]), float(found[2]), None, {})
        if found := _ITERATION.match(message):
            self.iteration = int(found[1])

    def _take_output(self, message: str, found: re.Match[str]) -> None:
        phase, name, value = found[1], found[2], float(found[3])
        record = self._train if phase == "Train" else self._test
        if record is None:
            return
        outputs = dict(record.outputs)
        same = sum(known.partition("[")[0] == name for known in outputs)
        outputs[f"{name}[{same}]" if same else name] = value
        if isinstance(record, TrainRecord):
            self._train = TrainRecord(record.iteration, record.loss, record.learning_rate, outputs)
        else:
            loss = record.loss
            if loss is None and _LOSS_WEIGHT.search(message):
                loss = value
            self._test = TestRecord(record.iteration, record.net, loss, outputs)

    def _add_rate(self, iteration: int, rate: float) -> None:
        train = self._train
        if train is not None and train.iteration == iteration:
            self._train = TrainRecord(iteration, train.loss, rate, train.outputs)

    def _add_test_loss(self, loss: float) -> None:
        if self._test is not None:
            test = self._test
            self._test = TestRecord(test.iteration, test.net, loss, test.outputs)

    def _close(self) -> None:
        """Add the records that are being read to the others."""
        if self._train is not None:
            done = self._train
            self._trains[done.iteration] = TrainRecord(
                done.iteration, done.loss, done.learning_rate, MappingProxyType(dict(done.outputs))
            )
            self._train = None
        if self._test is not None:
            test = self._test
            if test.outputs:
                self._tests[test.iteration, test.net] = TestRecord(
                    test.iteration, test.net, test.loss, MappingProxyType(dict(test.outputs))
                )
            self._test = None
