"""models/cache.py: one model a thread is held, for as long as all that it depends on stays."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from caffe_ext.models.cache import clear_cache, load_cached
from caffe_ext.models.description import ModelDescription
from caffe_ext.models.pixels import PixelSpace
from classifier_models import IMAGES, write_model


@pytest.fixture
def model(tmp_path: Path) -> ModelDescription:
    clear_cache()
    deploy, weights = write_model(tmp_path / "a")
    return ModelDescription("a", deploy, weights, PixelSpace())


def test_the_same_model_is_loaded_once(model: ModelDescription) -> None:
    first = load_cached(model, 2)
    assert load_cached(replace(model, name="another name"), 2) is first
    assert load_cached(model, 3) is not first
    assert load_cached(model, 2) is not first  # one is held


def test_a_forgotten_model_is_loaded_again(model: ModelDescription) -> None:
    first = load_cached(model, 2)
    clear_cache()
    assert load_cached(model, 2) is not first


@pytest.mark.parametrize(
    "change",
    [
        {"pixel_space": PixelSpace(0.5)},
        {"pixel_space": PixelSpace(1.0, np.ones((1, 2, 2)))},
        {"logits": "score"},
        {"classes": ("x", "y", "z")},
    ],
)
def test_other_settings_are_another_model(
    model: ModelDescription, change: dict[str, object]
) -> None:
    assert load_cached(replace(model, **change), 2) is not load_cached(model, 2)  # type: ignore[arg-type]


def test_names_are_counted_whatever_is_held(model: ModelDescription) -> None:
    load_cached(model, 2)
    with pytest.raises(ValueError, match=r"has 2 names, but the network .* has 3 classes"):
        load_cached(replace(model, classes=("x", "y")), 2)


def test_changed_weights_are_another_model(model: ModelDescription) -> None:
    before = load_cached(model, 2).logits(IMAGES)
    other = write_model(model.weights.parent.parent / "b", hdf5=True)[1]
    renamed = replace(model, weights=other)
    np.testing.assert_array_equal(load_cached(renamed, 2).logits(IMAGES), before)
    first = load_cached(model, 2)
    model.weights.write_bytes(model.weights.read_bytes())
    assert load_cached(model, 2) is not first


def test_each_thread_has_its_own(model: ModelDescription) -> None:
    mine = load_cached(model, 2)
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(load_cached, model, 2).result()
        pool.submit(clear_cache).result()
    assert theirs is not mine
    assert load_cached(model, 2) is mine
