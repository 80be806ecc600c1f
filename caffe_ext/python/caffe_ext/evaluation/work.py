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
from caffe_ext.runs.export import identity, plain_name
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

    def identity(self) -> dict[str, Any]:
        """Return what a report of this is about: models, images, limit and seed."""
        models = {model.name: self.model_identity(model) for model in self.models}
        return {"models": models, "limit": self.settings.limit, "seed": self.settings.seed}

    def model_identity(self, model: LoadableModel) -> dict[str, Any]:
        """Return what results of a model depend on."""
        return identity(model, self.images.digest, labelled=self.images.labelled)

    def model_folder(self, model: LoadableModel) -> Path:
        """Return the folder of a model's results."""
        return self.folder / plain_name(model.name)

    def cascade_folder(self, model: LoadableModel, budget: PerturbationBudget) -> Path:
        """Return the folder of the cascade within a budget."""
        return self.model_folder(model) / f"within-{budget.norm}-{budget.epsilon:g}"

    def probe_folder(self, model: LoadableModel, images: int) -> Path:
        """Return the folder of the iterated attacks on this many images."""
        return self.model_folder(model) / f"probe-{images}"

    def task(
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
            "folder": self.model_folder(model),
            "limit": self.settings.limit,
            "again": self.settings.again,
        }
        return AttackRun(attack, self.model_identity(model), **(settings | changes))
