"""Run attacks; of a user's own, do not believe what they return before it is checked.

    run_checked(attack, model, images, kind=MISCLASSIFIED, labels=labels, indices=indices)

The package's attacks run as they are. An attack from outside must return an AttackResult of the
right shapes and types, and what it calls adversarial is classified again: what is not is dropped if
it is little, as float32 may round otherwise in another batch, and is an error otherwise.
"""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np

from caffe_ext.attacks.base import Attack, AttackResult, Diagnostics, RealReading, is_own
from caffe_ext.attacks.criteria import NO_TARGET, Bools, Criterion, CriterionKind
from caffe_ext.models.base import NO_CLASS, Images, Ints, Model, Pixels, find_top_class
from caffe_ext.models.pixels import allow_dark_pixels

_MOST_FALSE = 0.01
"""The largest share of an attack's adversarials that may turn out not to be any."""
_ROUNDING = 1e-4
"""A margin that is as small as this, relative to the largest logit, may be one of rounding."""
_TERMINATED = 143


def check_picklable(attack: Attack) -> None:
    """Raise ValueError for an attack that cannot be passed to a worker process."""
    try:
        pickle.dumps(attack)
    except Exception as error:
        cls = type(attack)
        raise ValueError(
            f"attack {_name_attack(attack)!r} cannot be passed to a worker process: define its "
            f"class {cls.__qualname__} by a class statement at the top level of "
            f"{cls.__module__}, or use --jobs 1"
        ) from error


def run_checked(  # noqa: PLR0913  what Attack.run() takes, with the criterion in two parts
    attack: Attack,
    model: Model,
    images: Images,
    *,
    kind: CriterionKind,
    labels: Ints,
    indices: Ints,
) -> AttackResult:
    """Run an attack on images with these labels; see Attack.run().

    Raises ValueError naming the attack if it is from outside the package and fails, returns
    something else than an AttackResult for these images, changes them, or returns images as
    adversarial that are not.
    """
    if not is_own(type(attack)):
        with allow_dark_pixels():  # they know the range of pixels
            return attack.run(model, images, kind(labels), indices)
    name, given = _name_attack(attack), images.copy()
    try:
        result = attack.run(model, given, kind(labels.copy()), indices.copy())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code == _TERMINATED:
            raise  # the program itself is told to end
        said = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
        raise ValueError(f"attack {name!r} failed: {said}") from error
    try:
        if not np.array_equal(given, images):
            raise ValueError("must not change the images that it is given; change a copy")
        _check(result, images, model.classes)
        return _classify_again(result, model, images, kind(labels))
    except ValueError as error:
        raise ValueError(f"attack {name!r}: {error}") from error


def _name_attack(attack: Attack) -> str:
    """Return the attack's text, or its class if that is not registered."""
    try:
        return attack.text
    except TypeError:
        return type(attack).__name__


def _check(result: Any, images: Images, classes: int) -> None:
    """Raise ValueError unless this is an AttackResult for these images."""
    if not isinstance(result, AttackResult):
        raise ValueError(f"run() must return an AttackResult, not {type(result).__name__}")
    count = (len(images),)
    _check_array("found", result.found, np.bool_, count)
    _check_array("adversarials", result.adversarials, np.uint8, images.shape)
    _check_array("classes", result.classes, np.integer, count)
    _check_array("step_lengths", result.step_lengths, np.floating, count)
    known = (result.classes >= 0) & (result.classes < classes)
    if not (known | (result.classes == NO_CLASS)).all():
        raise ValueError(
            f"classes must be 0..{classes - 1}, or {NO_CLASS} where nothing was found, not "
            f"{result.classes[~known].max()}"
        )
    lengths = result.step_lengths[result.found]
    if not (np.isfinite(lengths) & (lengths >= 0)).all():
        raise ValueError("step_lengths must be finite and 0 or more where found is True")
    for name in ("queries", "gradients"):
        number = getattr(result, name)
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 0:
            raise ValueError(f"{name} must be a whole number, 0 or more, not {number!r}")
    if result.real is not None:
        _check_real(result.real, images)
    if result.diagnostics is not None:
        _check_diagnostics(result.diagnostics, len(images), classes)


def _check_real(real: Any, images: Images) -> None:
    if not isinstance(real, RealReading):
        raise ValueError(f"real must be a RealReading or None, not {type(real).__name__}")
    _check_array("real.found", real.found, np.bool_, (len(images),))
    _check_array("real.adversarials", real.adversarials, np.float32, images.shape)
    values = real.adversarials[real.found]
    if not ((values >= 0) & (values <= 255)).all():
        raise ValueError("real.adversarials must be 0..255 where real.found is True")


def _check_diagnostics(given: Any, count: int, classes: int) -> None:
    if not isinstance(given, Diagnostics):
        raise ValueError(f"diagnostics must be Diagnostics or None, not {type(given).__name__}")
    _check_array("diagnostics.targets", given.targets, np.integer, (count,))
    for name in ("saturated", "zero_gradient"):
        _check_array(f"diagnostics.{name}", getattr(given, name), np.bool_, (count,))
    known = (given.targets >= 0) & (given.targets < classes)
    if not (known | (given.targets == NO_TARGET)).all():
        raise ValueError(f"diagnostics.targets must be 0..{classes - 1}, or {NO_TARGET}")


def _check_array(name: str, values: Any, kind: type[Any], shape: tuple[int, ...]) -> None:
    words = {np.bool_: "bool", np.integer: "int64", np.floating: "float64"}
    array = isinstance(values, np.ndarray)
    if not array or values.shape != shape or not np.issubdtype(values.dtype, kind):
        got = f"{values.dtype} {values.shape}" if array else type(values).__name__
        wanted = words.get(kind, kind.__name__)
        raise ValueError(f"{name} must be a NumPy array, {wanted} {shape}, not {got}")


def _classify_again(
    result: AttackResult, model: Model, images: Images, criterion: Criterion
) -> AttackResult:
    """Return the result with only those adversarials that are some, and their true classes.

    Raises ValueError if too many are not.
    """
    found, classes = _confirm(result.found, result.adversarials, model, criterion)
    real = result.real
    if real is not None:
        true, _ = _confirm(real.found, real.adversarials, model, criterion)
        points = np.where(true[:, None, None, None], real.adversarials, images.astype(np.float32))
        real = RealReading(true, points)
    return replace(
        result,
        found=found,
        adversarials=np.where(found[:, None, None, None], result.adversarials, images),
        classes=classes,
        step_lengths=np.where(found, result.step_lengths, np.nan),
        real=real,
    )


def _confirm(
    claimed: Bools, adversarials: Pixels, model: Model, criterion: Criterion
) -> tuple[Bools, Ints]:
    """Return which images are adversarial, and their classes, NO_CLASS for the others."""
    rows, found = np.flatnonzero(claimed), np.zeros(len(claimed), np.bool_)
    classes = np.full(len(claimed), NO_CLASS, np.int64)
    if not len(rows):
        return found, classes
    logits = model.logits(adversarials[rows])
    true = criterion.is_satisfied(logits, rows)
    near = criterion.compute_margins(logits, rows) <= _ROUNDING * np.abs(logits).max(axis=1)
    if (~(true | near)).sum() > _MOST_FALSE * len(rows):
        raise ValueError(
            f"{(~true).sum():,} of {len(rows):,} images that it returns as adversarial are not"
        )
    found[rows], classes[rows[true]] = true, find_top_class(logits)[true]
    return found, classes
