"""The accuracy of networks on the images of the human study, and on gradient signs of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter
from caffe_ext.studies.gradient_sign import compute_loss_signs
from caffe_ext.studies.human.curves import Values
from caffe_ext.studies.human.design import NATURAL, SIGN, SUBSETS
from caffe_ext.studies.human.preparation import change_images
from caffe_ext.studies.human.stimuli import Stimuli

OWN = tuple(subset for subset in SUBSETS if subset.kind in (NATURAL, SIGN))
"""The subsets that a network's own gradient changes, and the one without noise."""


@dataclass(frozen=True, eq=False)
class NetworkAccuracies:
    """The accuracies of M networks, 0..1.

    shared  float64 (M, S): on the images that people see, in each of SUBSETS
    own     float64 (M, O): on images with the sign of the network's own gradient, in each of OWN
    images  how many of the pool, in each subset
    """

    shared: Values
    own: Values
    images: int


def measure_networks(
    models: Sequence[LoadableModel],
    stimuli: Stimuli,
    limit: int | None,
    batch_size: int,
    reporter: Reporter,
) -> NetworkAccuracies:
    """Measure networks on the first images of the pool.

    limit  how many of them; None: all

    Raises ValueError for networks that the images do not fit.
    """
    labels = stimuli.labels[:limit]
    count, place = len(labels), SUBSETS.index(OWN[0])
    pool = np.asarray(stimuli.images[place, :count, None])
    shared = np.empty((len(models), len(SUBSETS)))
    own = np.empty((len(models), len(OWN)))
    total = len(models) * count * (len(SUBSETS) + len(OWN))
    with reporter.show_progress("networks", total, "image") as step:
        for number, described in enumerate(models):
            model = described.load(batch_size)
            for column in range(len(SUBSETS)):
                images = np.asarray(stimuli.images[column, :count, None])
                shared[number, column] = model.accuracy(images, labels)
                step(count)
            signs = compute_loss_signs(model, pool, labels)
            for column, subset in enumerate(OWN):
                images = change_images(pool, signs, subset, [0])
                own[number, column] = model.accuracy(images, labels)
                step(count)
    return NetworkAccuracies(shared, own, count)
