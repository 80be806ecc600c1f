"""What is evaluated, where the results are, and how each attack on each model is run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.evaluation.result import Settings
from caffe_ext.evaluation.tasks import AttackTask, Resources
from caffe_ext.models.base import Ints
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.runs.export import identify, make_plain_name
from caffe_ext.runs.runner import AttackRun, Source, count_images


@dataclass(frozen=True)
class ImageSet:
    """The images that all models are evaluated on.

    opener    opens them, also in other processes: picklable
    digest    of all of them
    labelled  whether they have labels
    """

    opener: Callable[[], Source]
    digest: str
    labelled: bool


@dataclass(frozen=True)
class EvaluationWork:
    """The models, the images, the settings, and the folder for the results.

    models  with distinct names
    """

    models: Sequence[LoadableModel]
    images: ImageSet
    settings: Settings
    folder: Path
    resources: Resources = field(default_factory=Resources)

    @property
    def count(self) -> int:
        """Count the images that are evaluated."""
        return count_images(self.images.opener(), self.settings.limit)

    def identify(self) -> dict[str, Any]:
        """Return what a report of this is about: models, images, limit and seed."""
        models = {model.name: self.identify_model(model) for model in self.models}
        return {"models": models, "limit": self.settings.limit, "seed": self.settings.seed}

    def identify_model(self, model: LoadableModel) -> dict[str, Any]:
        """Return what results of a model depend on."""
        return identify(model, self.images.digest, labelled=self.images.labelled)

    def locate_model_results(self, model: LoadableModel) -> Path:
        """Return the folder of a model's results."""
        return self.folder / make_plain_name(model.name)

    def locate_cascade(self, model: LoadableModel, budget: PerturbationBudget) -> Path:
        """Return the folder of the cascade within a budget."""
        return self.locate_model_results(model) / f"within-{budget.norm}-{budget.epsilon:g}"

    def locate_probe(self, model: LoadableModel, images: int) -> Path:
        """Return the folder of the iterated attacks on this many images."""
        return self.locate_model_results(model) / f"probe-{images}"

    def make_task(
        self,
        model: LoadableModel,
        attack: Attack,
        predicted: Ints,
        label: str = "",
        **changes: Any,
    ) -> AttackTask:
        """Return the task of an attack on a model; changes: of its run."""
        run = self.run(model, attack, **changes)
        return AttackTask(model, self.resources, self.images.opener, run, predicted, label)

    def run(self, model: LoadableModel, attack: Attack, **changes: Any) -> AttackRun:
        """Return the run of an attack on a model."""
        settings = {
            "folder": self.locate_model_results(model),
            "limit": self.settings.limit,
            "again": self.settings.again,
        }
        return AttackRun(attack, self.identify_model(model), **(settings | changes))
