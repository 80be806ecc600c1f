"""BoundsStudy: bound models' logits, next to an attack at the same radii; tables, plots, records.

bounds.json             accuracies, certified and under attack, and all that they depend on
bounds.csv              a line for each model, method, image and radius: the least margin
bounds.png, .svg        both accuracies against the radius: the truth lies between them
bounds-*.json           the bounds of all logits, by model and method, which are resumed after an
                        interruption
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.budget_texts import insert_radius
from caffe_ext.attacks.criteria import MISCLASSIFIED
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.certification.bounds import MARGIN, METHODS, Bounder, Method
from caffe_ext.certification.bounds_result import BoundedModel, BoundsResult, save_results
from caffe_ext.certification.largest_radius import TOLERANCE, find_largest_radii
from caffe_ext.certification.network import read_network
from caffe_ext.certification.study import Study, check_attack, check_radii, read_labelled
from caffe_ext.errors import RecordError
from caffe_ext.models.base import Images, Ints, Model
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.models.pixels import allow_dark_pixels
from caffe_ext.reporting import Reporter, SilentReporter, Step
from caffe_ext.runs.output_folder import claim_output
from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.description import check_same, hash_description
from caffe_ext.storage.json_file import Object, read_json
from caffe_ext.storage.periodic import save_periodically

_IMAGES_AT_A_TIME = 4
_ADVICE = "remove it, or use --again"


@dataclass(frozen=True)
class BoundsSettings:
    """What is bounded.

    radii    Linf, in grey levels, 0 to 255; each is used once
    methods  of bounds.METHODS
    largest  find the largest certified radius of each image as well, by bisection
    attack   the text of an attack, in which E is the radius; "": none
    memory   bytes that bounds may use

    Raises ValueError for invalid settings.
    """

    radii: tuple[float, ...]
    methods: tuple[Method, ...] = ("crown",)
    largest: bool = False
    attack: str = "pgd=E/0.25Ex40+margin"
    memory: int = 1 << 30

    def __post_init__(self) -> None:
        """Check them."""
        if not self.radii or not self.methods:
            raise ValueError("there must be a radius and a method")
        object.__setattr__(self, "radii", check_radii(self.radii))
        for method in self.methods:
            if method not in METHODS:
                raise ValueError(f"unknown method {method!r}; the methods are {', '.join(METHODS)}")
        if self.attack:
            check_attack(self.attack)


@dataclass(frozen=True)
class BoundsPiece:
    """What bounds-*.json holds: the results for the first images.

    largest  0 for all images unless it is asked for
    """

    description: Object
    lower: list[list[list[float]]]
    upper: list[list[list[float]]]
    margins: list[list[float]]
    largest: list[float]

    def append(self, more: "BoundsPiece") -> "BoundsPiece":
        """Return these results and those for the images that follow."""
        names = [field.name for field in fields(self) if field.name != "description"]
        columns = {name: getattr(self, name) + getattr(more, name) for name in names}
        return BoundsPiece(self.description, **columns)


@dataclass(frozen=True)
class BoundsStudy(Study):
    """What is bounded; the fields are those of Study."""

    settings: BoundsSettings

    @allow_dark_pixels()
    def run(self, reporter: Reporter | None = None) -> BoundsResult:
        """Bound what is not bounded yet, write the results, and return them.

        Raises ValueError for images and models that do not fit, UnboundableError, a ValueError,
        naming a layer that has no bounds, RecordError if the folder holds damaged results or
        another process is using it, DataError and OSError for files.
        """
        reporter = reporter or SilentReporter()
        source = self.open_images(reporter)
        networks = [read_network(model) for model in self.models]
        images, labels = read_labelled(source, "bounded")
        digest = source.compute_digest(reporter)
        settings, results = self.settings, []
        total = len(images) * len(self.models) * len(settings.methods)
        with claim_output(self.folder), reporter.show_progress("bounds", total, "image") as step:
            for description, network in zip(self.models, networks, strict=True):
                model = description.load(self.batch_size)
                labels = model.check_labels(labels, len(images))
                predicted = model.predict(images)
                bounded = {
                    method: self._bound_images(
                        Bounder(network, method, settings.memory),
                        self._describe(description, method, digest, len(images)),
                        (images, labels, predicted),
                        step,
                    )
                    for method in settings.methods
                }
                largest: dict[str, NDArray[np.float64]] = {
                    name: np.array(piece.largest) for name, piece in bounded.items()
                }
                attacked = self._attack_images(model, images, labels, predicted)
                results.append(
                    BoundedModel(
                        description.name,
                        predicted == labels,
                        {name: np.array(piece.margins) for name, piece in bounded.items()},
                        largest if settings.largest else None,
                        attacked,
                    )
                )
            result = BoundsResult(settings.radii, labels, settings.attack, results)
            record = self.make_record(source, digest, {"norm": "Linf", "margin": MARGIN})
            save_results(self.folder, result, record)
        return result

    def _describe(
        self, model: LoadableModel, method: Method, digest: str, count: int
    ) -> dict[str, Any]:
        """Return what the bounds depend on, for JSON."""
        return {
            "model": model.identify(),
            "images": {"digest": digest, "count": count},
            "method": method,
            "radii": list(self.settings.radii),
            "margin": MARGIN,
            "largest": TOLERANCE if self.settings.largest else None,
        }

    def _bound_images(
        self,
        bounder: Bounder,
        description: dict[str, Any],
        batch: tuple[Images, Ints, Ints],
        step: Step,
    ) -> BoundsPiece:
        """Compute the bounds of all images, some at a time."""
        path = self.folder / f"bounds-{hash_description(description)}.json"
        images, labels, predicted = batch
        piece = BoundsPiece(description, [], [], [], [])
        if path.exists() and not self.again:
            piece = read_piece(path, description, len(images), len(self.settings.radii))
        step(len(piece.margins))
        radii = self.settings.radii

        def save() -> None:
            write_json(path, asdict(piece), indent=None)

        with save_periodically(save) as note_change:
            for start in range(len(piece.margins), len(images), _IMAGES_AT_A_TIME):
                rows = slice(start, min(start + _IMAGES_AT_A_TIME, len(images)))
                some, theirs = images[rows], labels[rows]
                count = len(some)
                found = [bounder.bound(some, theirs, np.full(count, radius)) for radius in radii]
                correct = predicted[rows] == theirs
                largest = np.full(count, 0.0)
                if self.settings.largest and correct.any():
                    largest[correct] = find_largest_radii(bounder, some[correct], theirs[correct])
                piece = piece.append(
                    BoundsPiece(
                        description,
                        lower=_regroup_by_image([bound.lower for bound in found]),
                        upper=_regroup_by_image([bound.upper for bound in found]),
                        margins=_regroup_by_image([bound.margins.min(axis=1) for bound in found]),
                        largest=largest.tolist(),
                    )
                )
                note_change()
                step(count)
        return piece

    def _attack_images(
        self, model: Model, images: Images, labels: Ints, predicted: Ints
    ) -> NDArray[np.bool_] | None:
        """Return which images the attack leaves correct, bool (N, radii); None without one."""
        if not self.settings.attack:
            return None
        robust = np.tile((predicted == labels)[:, None], (1, len(self.settings.radii)))
        for column, radius in enumerate(self.settings.radii):
            tried = np.flatnonzero(predicted == labels)
            if radius < 1 or not len(tried):
                continue  # no other whole grey level lies within
            attack = parse_attack(insert_radius(self.settings.attack, radius))
            found = attack.run(model, images[tried], MISCLASSIFIED(labels[tried]), tried).found
            robust[tried, column] = ~found
        return robust


def _regroup_by_image(of_radii: list[NDArray[np.float64]]) -> list[Any]:
    """Return a list for each image with an entry for each radius."""
    rows: list[Any] = np.stack(of_radii, axis=1).tolist()
    return rows


def read_piece(path: Path, description: dict[str, Any], images: int, radii: int) -> BoundsPiece:
    """Return what is done; RecordError if the file is damaged or of another run."""
    piece = read_json(path, BoundsPiece, _ADVICE)
    check_same(description, piece.description, f"{path} holds results of another run", _ADVICE)
    columns = (piece.margins, piece.lower, piece.upper, piece.largest)
    lengths = {len(column) for column in columns}
    complete = all(len(row) == radii for row in piece.margins)
    if len(lengths) != 1 or max(lengths) > images or not complete:
        raise RecordError(
            f"{path} is damaged: {_ADVICE} (it does not have {radii} radii per image)"
        )
    return piece
