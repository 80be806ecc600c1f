"""HumanStudy: people's accuracy beside that of networks, as a figure and tables.

curves.json          accuracies with intervals, and all that they depend on
curves.csv           one row per curve, kind of noise and level
curves.png, .svg     the figure
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from caffe_ext.evaluation.report import as_csv
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter, SilentReporter, pluralize
from caffe_ext.storage.atomic import write_json, write_text
from caffe_ext.storage.figure_file import save_png_and_svg
from caffe_ext.storage.provenance import collect_provenance
from caffe_ext.studies.human.curves import Curve, compute_people_curve, make_curve, make_rows
from caffe_ext.studies.human.design import SUBSETS
from caffe_ext.studies.human.figure import plot_curves
from caffe_ext.studies.human.networks import OWN, measure_networks
from caffe_ext.studies.human.stimuli import load_stimuli
from caffe_ext.studies.human.store import AnswerStore

RESULTS = "curves"
INTERVAL = (
    "mean +- t(0.975, n - 1) s / sqrt(n) over the n people or networks, cut off at 0 and 1; "
    "none for n = 1"
)


@dataclass(frozen=True)
class HumanStudy:
    """What is compared.

    folder      of the study
    models      networks, which are one group, with one curve
    limit       images of the pool that networks classify in each subset; None: all
    unfinished  count people who have not answered all images, too
    """

    folder: Path
    models: Sequence[LoadableModel]
    limit: int | None = 1000
    batch_size: int = 100
    unfinished: bool = False

    def run(self, reporter: Reporter | None = None) -> list[Curve]:
        """Compute the curves, write them, and return them: people's first, if there are answers.

        Raises RecordError without stimuli, ValueError for networks that they do not fit, OSError
        for files that cannot be written.
        """
        reporter = reporter or SilentReporter()
        stimuli = load_stimuli(self.folder)
        store = AnswerStore(self.folder, stimuli.digest)
        answers = store.read_answers(unfinished=self.unfinished)
        begun, finished = store.count_people()
        curves = [compute_people_curve(stimuli, answers)] if answers else []
        if not answers:
            reporter.warn("there are no answers of people yet: the curves are those of networks")
        elif begun > finished and not self.unfinished:
            left = pluralize(begun - finished, "person has", "people have")
            reporter.note(
                f"{left} not finished, and {'is' if begun - finished == 1 else 'are'} "
                "left out; --unfinished counts them, too"
            )
        found = measure_networks(self.models, stimuli, self.limit, self.batch_size, reporter)
        curves += [
            make_curve("networks", SUBSETS, found.shared, stimuli.record.distortions),
            make_curve("networks, each on its own gradient sign", OWN, found.own),
        ]
        people = len({one.person for one in answers})
        record = asdict(collect_provenance()) | {
            "people": people,
            "unfinished_people": "counted" if self.unfinished else "left out",
            "networks": [model.as_shown_record() for model in self.models],
            "images_per_network_and_subset": found.images,
            "interval": INTERVAL,
            "stimuli": stimuli.digest,
            "curves": make_rows(curves),
        }
        self._write(curves, record, describe(people, len(self.models), found.images))
        return curves

    def _write(self, curves: Sequence[Curve], record: dict[str, Any], note: str) -> None:
        """Write the files; the figure last, so that the results are on the disk by then."""
        path = self.folder / RESULTS
        write_text(path.with_suffix(".csv"), as_csv(make_rows(curves)))
        write_json(path.with_suffix(".json"), record)
        save_png_and_svg(plot_curves(curves, note), path)


def describe(people: int, networks: int, images: int) -> str:
    """Return the sentence below the figure."""
    return (
        f"{pluralize(people, 'person', 'people')}; {pluralize(networks, 'network')} on "
        f"{pluralize(images, 'image')} of each level; mean and 95% t interval over people and "
        "over networks"
    )
