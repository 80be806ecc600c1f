"""What bench_search.py measures: the search of all images, and others beside it on some of them."""

# The package, which loads Caffe, is imported late: --help is instant.
# ruff: noqa: PLC0415

import cProfile
import os
import pstats
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from caffe_ext.cli.console import Console

if TYPE_CHECKING:
    from caffe_ext.attacks.base import Attack
    from caffe_ext.models.base import Images, Ints
    from caffe_ext.models.classifier import Classifier
    from caffe_ext.models.description import ModelDescription
    from caffe_ext.reporting import Step

# As many images as runs/runner.py takes at a time.
PIECE = 1000


@dataclass(frozen=True, eq=False)
class Answers:
    """What somebody's search found for N images: amplitudes (NaN: nothing), and uint8 images.

    forwards  how many images went through the net on the way; NaN: not counted
    """

    amplitudes: NDArray[np.float64]
    adversarials: "Images"
    forwards: float = float("nan")


@dataclass(frozen=True, eq=False)
class Sample:
    """Images uint8 (N, C, H, W) that a model classifies as their labels int64 (N,)."""

    images: "Images"
    labels: "Ints"

    @classmethod
    def select_correct(cls, classifier: "Classifier", images: "Images", labels: "Ints") -> "Sample":
        """Return those of the images that are classified correctly."""
        right = classifier.predict(images) == labels
        return cls(images[right], labels[right])

    def search(self, classifier: "Classifier", attack: "Attack") -> Answers:
        """Attack the sample."""
        from caffe_ext.attacks import Misclassification

        rows = np.arange(len(self.images))
        result = attack.run(classifier, self.images, Misclassification(self.labels), rows)
        return Answers(result.step_lengths, result.adversarials, result.queries)


def measure_all(  # noqa: PLR0913  the job, and what it is done on
    classifier: "Classifier",
    attack: "Attack",
    images: "Images",
    labels: "Ints",
    step: "Step",
    *,
    score: Callable[["Images", "Images"], object] = lambda *_: None,
) -> dict[str, Any]:
    """Search for all images, piece by piece, as the programs do; return the figures.

    score  what else is done with adversarials and their originals

    Seconds are of the wall clock, and of the processor for all threads; `search` has the choice of
    the images that are classified correctly and the attack in it, `scores` the score.
    """

    from caffe_ext.attacks import Misclassification

    clocks: dict[str, list[tuple[float, float]]] = {"search": [], "scores": []}

    def measure(name: str, job: Callable[..., Any], *given: Any) -> Any:
        wall, processor = time.perf_counter(), time.process_time()
        result = job(*given)
        clocks[name].append((time.perf_counter() - wall, time.process_time() - processor))
        return result

    def find(part: slice) -> tuple["Images", Any]:
        sample = Sample.select_correct(classifier, images[part], labels[part])
        rows = np.arange(len(sample.images))
        return sample.images, attack.run(
            classifier, sample.images, Misclassification(sample.labels), rows
        )

    before, forwards, amplitudes = _measure_peak_mib(), 0, []
    for start in range(0, len(images), PIECE):
        part = slice(start, start + PIECE)
        originals, result = measure("search", find, part)
        measure("scores", score, result.adversarials[result.found], originals[result.found])
        amplitudes.append(result.step_lengths)
        forwards += result.queries
        step(len(images[part]))
    sizes = [len(images[start : start + PIECE]) for start in range(0, len(images), PIECE)]
    speeds = [size / wall for size, (wall, _) in zip(sizes, clocks["search"], strict=True)]
    found = np.concatenate(amplitudes)
    return {
        "images": len(images),
        "attacked": len(found),
        "found": int(np.isfinite(found).sum()),
        "forwards_per_attacked_image": forwards / max(len(found), 1),
        "seconds": {name: sum(wall for wall, _ in taken) for name, taken in clocks.items()},
        "processor_seconds": {name: sum(cpu for _, cpu in taken) for name, taken in clocks.items()},
        "images_per_second": statistics.median(speeds),
        "seconds_for_10000_images": 10_000 / statistics.median(speeds),
        "peak_memory_mib": {"before": before, "after": _measure_peak_mib()},
        "network_share": _measure_network_share(lambda: find(slice(PIECE))),
    }


def score_pairs(*pair: "Images") -> None:
    """Compute PASS and the distances."""
    from caffe_ext.metrics.distances import compute_distances
    from caffe_ext.metrics.pass_score import compute_pass_scores

    compute_pass_scores(*pair)
    compute_distances(*pair)


def _measure_peak_mib() -> float:
    """Return the most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measure_network_share(job: Callable[[], object]) -> float:
    """Return which share of the processor's time a job spends in pycaffe, that is, the network."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(job)
    own = {place: times[2] for place, times in pstats.Stats(profile).stats.items()}  # type: ignore[attr-defined]
    network = sum(seconds for (file, *_), seconds in own.items() if file.endswith("pycaffe.py"))
    return float(network / sum(own.values()))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Others beside our search of a sample, in turns: `runs` times each."""

    classifier: "Classifier"
    sample: Sample
    ours: Callable[[], Answers]
    runs: int

    def compare(self, name: str, other: Callable[[], Answers]) -> dict[str, Any]:
        """Return the times; ratios say how many times as long as ours the other one takes.

        same_adversarial   share of the images for which both have the same adversarial
        still_adversarial  share of what the other has found that the Caffe model misclassifies
        """
        from paired_timing import time_pair

        last: dict[str, Answers] = {}

        def keep(who: str, job: Callable[[], Answers]) -> Callable[[], None]:
            return lambda: last.__setitem__(who, job())

        times = time_pair(keep("ours", self.ours), keep("other", other), self.runs)
        mine, theirs = last["ours"], last["other"]
        found = np.isfinite(theirs.amplitudes)
        wrong = self.classifier.predict(theirs.adversarials) != self.sample.labels
        equal = (mine.adversarials == theirs.adversarials).all(axis=(1, 2, 3))
        return {
            "name": name,
            "images": len(self.sample.images),
            "found": float(found.mean()),
            "mean_amplitude": float(theirs.amplitudes[found].mean()) if found.any() else None,
            "still_adversarial": float(wrong[found].mean()) if found.any() else None,
            "same_adversarial": float(equal.mean()),
            "forwards_per_image": [who.forwards / len(equal) for who in (mine, theirs)],
            **asdict(times),
        }

    def compare_all(
        self, what: str, others: Mapping[str, Callable[[], Answers]]
    ) -> list[dict[str, Any]]:
        """Return the times of several."""
        rows = []
        with Console().show_progress(f"beside {what}", len(others), "search") as step:
            for name, other in others.items():
                rows.append(self.compare(name, other))
                step(1)
        return rows


PlainLoop = Callable[[Sample, Literal["search", "step_by_step"]], Callable[[], Answers]]


def make_plain_loop(model: "ModelDescription", classifier: "Classifier") -> PlainLoop:
    """Return what makes a job of HC1's search of a sample, image by image in pycaffe.

    By doubling and bisection, "search", or trying each amplitude, "step_by_step". The net that they
    use is made here, on the engine or not.
    """
    from search_reference import PlainNet, make_plain_path, move

    scale = classifier.pixel_space.scale
    if isinstance(scale, tuple):
        raise ValueError(f"{model.name}: the plain loop knows one scale for all channels")
    net = PlainNet(model.deploy, model.weights, classifier.logits_blob, scale)

    def loop(sample: Sample, method: Literal["search", "step_by_step"]) -> Callable[[], Answers]:
        def job() -> Answers:
            amplitudes, adversarials = np.full(len(sample.images), np.nan), sample.images.copy()
            before = net.forwards
            for row, (image, label) in enumerate(zip(sample.images, sample.labels, strict=True)):
                way = make_plain_path(net, "hc1", image, label)
                amplitude = way.search() if method == "search" else way.find_first()
                if amplitude is not None:
                    amplitudes[row] = amplitude
                    adversarials[row] = move(image, way.u, amplitude)
            return Answers(amplitudes, adversarials, net.forwards - before)

        return job

    return loop


def count_cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0))
