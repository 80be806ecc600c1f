"""The study: the curves of all defences, measured where they are missing.

    study = DistortionStudy(trained, opener, Path("build/distortion"), defences)
    rows = study.run()

<output>/models                 the defences as model files, see stacks.py
<output>/curves/plain-...json   a curve each, and what it depends on
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from caffe_ext.data import ImageSource
from caffe_ext.models.base import Images, Ints
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.models.loadable_file import read_loadable
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runs.output_folder import claim_output
from caffe_ext.runtime.device import Device
from caffe_ext.storage.description import hash_description
from caffe_ext.storage.provenance import collect_provenance
from caffe_ext.storage.result_file import StoredResult, restore_result
from caffe_ext.studies.distortion.levels import list_distortions
from caffe_ext.studies.distortion.measure import DistortionCurve, measure_curve
from caffe_ext.studies.distortion.models import (
    EPSILON,
    GAUSSIAN,
    GRADIENT_SCALE,
    SIGN,
    Defence,
)
from caffe_ext.studies.distortion.stacks import write_defence, write_network
from caffe_ext.studies.distortion.training import TrainedNetwork

SEED = 1
_BATCH = 500
_ADVICE = "remove it, or use --again"


@dataclass(frozen=True)
class Attack:
    """Noise of a kind.

    part  the network whose gradient gives the signs; None: the defence as a whole
    """

    kind: str
    part: str | None = None

    @property
    def name(self) -> str:
        """Return its name, for files and tables."""
        return f"{self.kind}-{self.part}" if self.part else self.kind


@dataclass(frozen=True)
class Row:
    """A defence, its description, and its curves."""

    defence: Defence
    model: LoadableModel
    curves: Mapping[Attack, DistortionCurve]

    def find_curve(self, kind: str, part: str | None = None) -> DistortionCurve:
        """Return the curve of an attack."""
        return self.curves[Attack(kind, part)]


@dataclass(frozen=True)
class DistortionStudy:
    """What is measured, and where the results go.

    trained   the networks that the defences need, by their ids
    data      what they were trained on, in words
    opener    opens the test images
    output    the folder for models and curves, from which an interrupted study resumes
    defences  what is attacked
    levels    of distortion
    limit     images, the first ones; None: all
    again     discard earlier curves
    device    where it is computed; None: Caffe's current one
    """

    trained: Mapping[str, TrainedNetwork]
    data: str
    opener: Callable[[], ImageSource]
    output: Path
    defences: Sequence[Defence]
    levels: int = 100
    limit: int | None = None
    again: bool = False
    device: Device | None = None

    def run(self, reporter: Reporter | None = None) -> list[Row]:
        """Measure what is missing, and return all curves.

        Raises RecordError for a damaged curve, DataError for images that cannot be read.
        """
        reporter = reporter or SilentReporter()
        source = self.opener()
        images, labels = source.read_labelled(self.limit)
        about = {
            "images": source.compute_digest(reporter),
            "count": len(images),
            "levels": self.levels,
            "seed": SEED,
        }
        pool = _Pool(images, labels, about)
        with claim_output(self.output / "curves"):
            models, parts = self._write_models()
            rows = []
            for defence in self.defences:
                model, curves = models[defence.id], {}
                for attack in list_attacks(defence):
                    part = parts[attack.part] if attack.part else None
                    task = _Task(defence, attack, model, part)
                    curves[attack] = self._restore_curve(task, pool, reporter)
                rows.append(Row(defence, model, curves))
        return rows

    def _write_models(self) -> tuple[dict[str, LoadableModel], dict[str, LoadableModel]]:
        """Return the defences, and the networks that are attacked in their place, by their ids."""
        folder = self.output / "models"
        weights = {name: one.result.weights for name, one in self.trained.items()}
        models = {
            one.id: read_loadable(write_defence(folder, one, weights)) for one in self.defences
        }
        names = {part for one in self.defences for part in one.parts}
        parts = {
            name: read_loadable(write_network(folder, name, weights[name]))
            for name in sorted(names)
        }
        return models, parts

    def _restore_curve(self, task: "_Task", pool: "_Pool", reporter: Reporter) -> DistortionCurve:
        """Return the curve in its file, or measure and write it."""
        depends = {**task.identify(), **pool.about}
        stem = f"{task.defence.id}-{task.attack.name}-{hash_description(depends)}"
        return restore_result(
            self.output / "curves" / f"{stem}.json",
            StoredResult[DistortionCurve],
            depends,
            partial(self._measure_curve, task, pool, reporter),
            _ADVICE,
            again=self.again,
        )

    def _measure_curve(self, task: "_Task", pool: "_Pool", reporter: Reporter) -> DistortionCurve:
        title = f"{task.defence.title}, {describe_attack(task.attack, task.defence)}"
        with reporter.show_progress(title, self.levels * len(pool.images), "image") as step:
            return measure_curve(
                task.model.load(_BATCH, self.device),
                pool.images,
                pool.labels,
                task.attack.kind,
                list_distortions(self.levels),
                attacker=None if task.part is None else task.part.load(_BATCH, self.device),
                seed=SEED,
                step=step,
            )


@dataclass(frozen=True, eq=False)
class _Pool:
    """The images, and what all curves depend on."""

    images: Images
    labels: Ints
    about: Mapping[str, Any]


@dataclass(frozen=True)
class _Task:
    """A curve to be measured; part: the model of attack.part."""

    defence: Defence
    attack: Attack
    model: LoadableModel
    part: LoadableModel | None

    def identify(self) -> dict[str, Any]:
        """Return what the curve depends on, for JSON."""
        return {
            "attack": self.attack.kind,
            "model": self.model.identify(),
            "part": self.part and self.part.identify(),
        }


def list_attacks(defence: Defence) -> Iterator[Attack]:
    """Yield what a defence is measured with."""
    yield Attack(SIGN)
    for part in defence.parts:
        yield Attack(SIGN, part)
    yield Attack(GAUSSIAN)


def describe_attack(attack: Attack, defence: Defence) -> str:
    """Return an attack in words."""
    if attack.kind == GAUSSIAN:
        return "Gaussian noise"
    if attack.part is None:
        return "gradient sign"
    what = "member" if defence.is_committee else "classifier"
    return f"gradient sign of {what} {attack.part}"


def make_record(study: DistortionStudy, rows: Sequence[Row]) -> dict[str, Any]:
    """Return everything, with what it depends on, for JSON."""
    return asdict(collect_provenance()) | {
        "data": study.data,
        "stages": {"epsilon": EPSILON, "gradient_scale": GRADIENT_SCALE},
        "networks": [
            {
                "id": name,
                "solver": one.network.solver,
                "seed": one.seed,
                **one.result.as_record(),
            }
            for name, one in study.trained.items()
        ],
        "defences": [
            {
                "id": row.defence.id,
                "title": row.defence.title,
                "paper": row.defence.paper,
                "model": row.model.as_shown_record(),
                "curves": [
                    {"noise": attack.kind, "gradient_of": attack.part} | asdict(curve)
                    for attack, curve in row.curves.items()
                ],
            }
            for row in rows
        ],
    }
