"""ExactStudy: decide images exactly, as far as the time allows; tables, plots, records.

exact.json             shares of the images, by verdict, and all that they depend on
exact.csv              a line for each model, image and radius: the verdict, and how it was reached
exact.npz              the adversarials, with their images, models and radii
exact.png, .svg        what is robust against the radius, next to the bounds and the attack
exact-*.json           the decisions, by model, which are resumed after an interruption; undecided
                       images are tried again under a longer time limit
"""

from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from caffe_ext.certification.bounds import MARGIN
from caffe_ext.certification.exact import (
    SOLVER_MARGIN,
    Decider,
    Decision,
    ExactMethod,
    Subject,
    find_largest,
)
from caffe_ext.certification.exact_result import DecidedModel, ExactResult, save_results
from caffe_ext.certification.exact_stored import (
    NO_RADIUS,
    ExactPiece,
    StoredDecision,
    StoredImage,
    find_contradiction,
)
from caffe_ext.certification.largest_radius import TOLERANCE
from caffe_ext.certification.network import read_network
from caffe_ext.certification.study import Study, check_radii, read_labelled
from caffe_ext.errors import RecordError
from caffe_ext.models.base import Images, Ints
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.models.pixels import allow_dark_pixels
from caffe_ext.reporting import Reporter, SilentReporter, Step
from caffe_ext.runs.output_folder import claim_output
from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.description import check_same, hash_description
from caffe_ext.storage.json_file import read_json
from caffe_ext.storage.periodic import save_periodically

_ADVICE = "remove it, or use --again"


@dataclass(frozen=True)
class ExactSettings:
    """What is decided.

    radii       Linf, in grey levels, 0 to 255; each is used once
    method      how
    time_limit  seconds for the search of an image at a radius, above 0
    largest     find the largest robust radius of each image as well, by bisection

    Raises ValueError for invalid settings.
    """

    radii: tuple[float, ...]
    method: ExactMethod = field(default_factory=ExactMethod)
    time_limit: float = 60.0
    largest: bool = False

    def __post_init__(self) -> None:
        """Check them."""
        object.__setattr__(self, "radii", check_radii(self.radii))
        if not (np.isfinite(self.time_limit) and self.time_limit > 0):
            raise ValueError(f"the time limit must be above 0 seconds, not {self.time_limit}")


@dataclass(frozen=True)
class ExactStudy(Study):
    """What is decided; the fields are those of Study."""

    settings: ExactSettings

    @allow_dark_pixels()
    def run(self, reporter: Reporter | None = None) -> ExactResult:
        """Decide what is not decided yet, write the results, and return them.

        Raises ValueError for images and models that do not fit, UnboundableError, a ValueError,
        naming a layer that has no bounds, RecordError if the folder holds damaged results or
        another process is using it, DataError and OSError for files.
        """
        reporter = reporter or SilentReporter()
        settings = self.settings
        source = self.open_images(reporter)
        deciders = [
            Decider(read_network(model), model.load(self.batch_size), settings.method)
            for model in self.models
        ]
        images, labels = read_labelled(source, "decided")
        digest = source.compute_digest(reporter)
        results, total = [], len(images) * len(self.models)
        with claim_output(self.folder), reporter.show_progress("exact", total, "image") as step:
            for description, decider in zip(self.models, deciders, strict=True):
                labels = decider.model.check_labels(labels, len(images))
                wanted = self._describe(description, decider.attack, digest, len(images))
                piece = self._decide_images(decider, wanted, images, labels, step)
                results.append(self._to_model(description.name, piece, images))
            result = ExactResult(
                settings.radii,
                images,
                labels,
                deciders[0].attack,
                settings.method.search,
                results,
            )
            margins = {"margin": MARGIN, "solver_margin": SOLVER_MARGIN}
            save_results(
                self.folder,
                result,
                self.make_record(
                    source, digest, {"norm": "Linf", "attack": result.attack} | margins
                ),
            )
        return result

    def _describe(
        self, model: LoadableModel, attack: str, digest: str, count: int
    ) -> dict[str, Any]:
        """Return what the decisions depend on, for JSON."""
        method = {"search": self.settings.method.search, "pixels": self.settings.method.pixels}
        return (
            {
                "model": model.identify(),
                "images": {"digest": digest, "count": count},
                "radii": list(self.settings.radii),
                "margins": [MARGIN, SOLVER_MARGIN],
                "largest": TOLERANCE if self.settings.largest else None,
            }
            | method
            | {"attack": attack}
        )

    def _decide_images(
        self,
        decider: Decider,
        description: dict[str, Any],
        images: Images,
        labels: Ints,
        step: Step,
    ) -> ExactPiece:
        """Return the decisions on all images."""
        path = self.folder / f"exact-{hash_description(description)}.json"
        piece = ExactPiece(description, [])
        if path.exists() and not self.again:
            radii = self.settings.radii
            piece = read_piece(path, description, images, len(radii))
            wrong = find_contradiction(piece, decider.model, images, labels, radii)
            if wrong:
                raise RecordError(f"{path} is damaged: {_ADVICE} ({wrong})")
        predicted = decider.model.predict(images)

        def save() -> None:
            write_json(path, asdict(piece), indent=None)

        with save_periodically(save) as note_change:
            for number, image in enumerate(images):
                found = piece.images[number] if number < len(piece.images) else None
                if found is None or self._may_be_decided(found):
                    label = int(labels[number])
                    right = predicted[number] == label
                    subject = Subject(image, label, number)
                    new = self._decide(decider, subject if right else None)
                    piece.images[number : number + 1] = [new]
                    note_change()
                step(1)
        return piece

    def _may_be_decided(self, found: StoredImage) -> bool:
        """Tell whether there is now more time for what was undecided."""
        if found.time_limit >= self.settings.time_limit or not found.decisions:
            return False
        apart = 1 if self.settings.method.pixels == "whole" else TOLERANCE
        robust, broken = found.largest or (0.0, 0.0)
        open_ = broken == NO_RADIUS or broken - robust > apart
        return open_ or any(it.verdict == "undecided" for it in found.decisions)

    def _decide(self, decider: Decider, subject: Subject | None) -> StoredImage:
        """Return the decisions on an image; None: it is misclassified."""
        settings, begin = self.settings, monotonic()
        if subject is None:
            return StoredImage([], (0.0, 0.0) if settings.largest else None, 0.0, 0.0)
        decisions: dict[float, Decision] = {}
        last = None
        for radius in sorted(settings.radii):
            last = decider.decide(subject, radius, settings.time_limit, last)
            decisions[radius] = last
        largest = None
        if settings.largest:
            robust, broken = find_largest(decider, subject, settings.time_limit, decisions)
            largest = robust, broken if isfinite(broken) else NO_RADIUS
        stored = [StoredDecision.from_decision(decisions[radius]) for radius in settings.radii]
        return StoredImage(stored, largest, settings.time_limit, monotonic() - begin)

    def _to_model(self, name: str, piece: ExactPiece, images: Images) -> DecidedModel:
        """Return the stored decisions as a DecidedModel."""
        largest = [
            (robust, np.inf if broken == NO_RADIUS else broken)
            for robust, broken in (it.largest for it in piece.images if it.largest is not None)
        ]
        shape = images.shape[1:]
        decisions = [[one.restore(shape) for one in it.decisions] for it in piece.images]
        return DecidedModel(name, decisions, largest, [it.seconds for it in piece.images])


def read_piece(path: Path, description: dict[str, Any], images: Images, radii: int) -> ExactPiece:
    """Return what is done; RecordError if the file is damaged or of another run."""
    piece = read_json(path, ExactPiece, _ADVICE)
    check_same(description, piece.description, f"{path} holds results of another run", _ADVICE)
    size = int(np.prod(images.shape[1:]))
    wrong = len(piece.images) > len(images) or any(
        len(image.decisions) not in (0, radii)
        or (image.largest is None) != (description.get("largest") is None)
        for image in piece.images
    )
    wrong |= any(
        (one.verdict == "vulnerable") != (one.adversarial is not None)
        or len(one.adversarial or ()) not in (0, size)
        or one.adversarial == []
        for image in piece.images
        for one in image.decisions
    )
    if wrong:
        raise RecordError(f"{path} is damaged: {_ADVICE} (it lacks {radii} radii per image)")
    return piece
