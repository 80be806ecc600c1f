"""Small stimuli for the tests of the human study, and a model that they can be made with."""

from pathlib import Path

import numpy as np

from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.provenance import hash_file
from caffe_ext.studies.human.design import SUBSETS
from caffe_ext.studies.human.stimuli import HARD_IMAGES, IMAGES, RECORD, Stimuli, load_stimuli

# Ten classes of 4x4 images.
TEN_CLASSES = """
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }
layer { name: 'score' type: 'InnerProduct' bottom: 'data' top: 'score'
  inner_product_param { num_output: 10 } }
layer { name: 'prob' type: 'Softmax' bottom: 'score' top: 'prob' }
"""


def write_stimuli(folder: Path, per_subset: int = 1, *, hard: bool = True) -> Stimuli:
    """Write random images: a pool of 40, and two hard digits of each class."""
    random = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    np.save(folder / IMAGES, random.integers(0, 256, (len(SUBSETS), 40, 4, 4), np.uint8))
    files = [IMAGES]
    if hard:
        np.save(folder / HARD_IMAGES, random.integers(0, 256, (20, 4, 4), np.uint8))
        files.append(HARD_IMAGES)
    record = {
        "identity": {},
        "labels": [number % 10 for number in range(40)],
        "hard_labels": [number // 2 for number in range(20)] if hard else [],
        "per_subset": per_subset,
        "seed": 7,
        "distortions": [0.01 * number for number in range(len(SUBSETS))],
        "digests": {name: hash_file(folder / name) for name in files},
    }
    write_json(folder / RECORD, record)
    return load_stimuli(folder)
