"""A Classifier that several threads share: right results, or an error, never another's."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from caffe_ext.models.classifier import Classifier
from classifier_models import DEEP, SPACE, write_model


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    return Classifier(*write_model(tmp_path, DEEP), SPACE, batch_size=7)


def images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, 3, 6, 6), np.uint8)


def test_threads_get_their_own_results(classifier: Classifier) -> None:
    counts = [5 + 6 * n for n in range(8)]  # other batches in each
    diffs = [np.eye(5, dtype=np.float32)[np.arange(count) % 5] for count in counts]

    def compute(n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        given = images(counts[n])
        return classifier.logits(given), classifier.gradient(given, diffs[n])

    alone = [compute(n) for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(compute, [*range(8)] * 6))
    for n, found in enumerate(together):
        for one, other in zip(found, alone[n % 8], strict=True):
            np.testing.assert_array_equal(one, other)


def in_a_thread(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def test_the_batch_of_another_thread_is_not_gone_back_through(classifier: Classifier) -> None:
    diff = np.ones((3, 5), np.float32)
    classifier.logits(images(3))
    in_a_thread(lambda: classifier.logits(images(3)[::-1]))
    with pytest.raises(ValueError, match=r"the last call was in another thread"):
        classifier.backward_from(classifier.logits_blob, diff)
    classifier.logits(images(3))
    classifier.backward_from(classifier.logits_blob, diff)


def test_a_call_from_inside_another_is_refused(classifier: Classifier) -> None:
    given = images(3)

    def diff(logits: NDArray[np.float32], _: slice) -> Any:
        return classifier.logits(given[::-1]) - logits

    with pytest.raises(RuntimeError, match=r"^a Classifier was called from inside one of its own"):
        classifier.gradient(given, diff)
    layers = classifier.run_layers(given)
    next(layers)
    with pytest.raises(RuntimeError, match=r"from inside one of its own calls"):
        classifier.predict(given)
    assert len(list(layers)) > 1
    assert classifier.predict(given).shape == (3,)


def test_two_classifiers_may_call_each_other(tmp_path: Path) -> None:
    one, other = (Classifier(*write_model(tmp_path, DEEP), SPACE) for _ in range(2))
    given = images(3)
    gradient = one.gradient(given, lambda logits, _: other.logits(given) - logits)
    assert not gradient.any()


def test_an_error_leaves_it_usable(classifier: Classifier) -> None:
    with pytest.raises(ValueError, match="images"):
        classifier.logits(np.zeros((1, 3, 9, 2), np.uint8))
    assert classifier.logits(images(2)).shape == (2, 5)
