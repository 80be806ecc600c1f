"""Model files for trained weights, made of those in prototxt/."""

import os
from collections.abc import Mapping
from pathlib import Path

from caffe_ext.models.yaml_file import format_yaml
from caffe_ext.storage.atomic import write_text


def write_model_file(template: Path, path: Path, *, name: str, files: Mapping[str, Path]) -> Path:
    """Write the model file `path`: the template with another name and other files; return path.

    files  by their keys, such as weights; the network is the template's
    """
    lines = template.read_text(encoding="utf-8").splitlines()
    given = dict(line.split(": ", 1) for line in lines if line.startswith("deploy: "))
    near = {"deploy": template.parent / given["deploy"], **files}
    changes = {"name": name} | {
        key: os.path.relpath(file, path.parent) for key, file in near.items()
    }
    rest = [
        line for line in lines if line.partition(":")[0] not in changes and not line.startswith("#")
    ]
    changed = format_yaml(changes)
    write_text(path, changed + "".join(f"{line}\n" for line in rest))
    return path
