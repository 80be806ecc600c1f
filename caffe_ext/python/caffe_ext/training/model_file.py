"""Model files for trained weights, made of those in prototxt/."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

import yaml

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
    lines = [*(f"{key}: {format_yaml_text(value)}" for key, value in changes.items()), *rest]
    write_text(path, "\n".join(lines) + "\n")
    return path


def format_yaml_text(text: str) -> str:
    """Return a text as a value in YAML: in quotes where it would be read as something else."""
    try:
        plain = yaml.safe_load(f"key: {text}") == {"key": text}
    except yaml.YAMLError:
        plain = False
    if plain:
        return text
    quoted = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return str(quoted).rstrip("\n")
