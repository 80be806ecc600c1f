"""YAML files that people write: read without YAML's traps, with errors that name file and line."""

import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from caffe_ext.models.text_file import read_text


class _RepeatedKeyError(ValueError):
    """A key is given twice: YAML itself would silently take the last value."""


_MOST_DIGITS = 1000
_TAG = "tag:yaml.org,2002:"
_INTEGER, _FLOAT, _MERGE = f"{_TAG}int", f"{_TAG}float", f"{_TAG}merge"
# PyYAML takes 1e-3 and 1.0e2 for text: YAML 1.1 has a point and a sign in each such number.
_SCIENTIFIC = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """YAML without aliases (ten lines of nested aliases can exceed any memory), without the merge
    keys that need them, without repeated keys, and without numbers that Python cannot print.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node; YAMLError for an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not supported; write their content out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; _RepeatedKeyError for a key that is given twice."""
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                raise yaml.YAMLError("merge keys (<<) are not supported; write their content out")
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                continue
            if key in lines:
                where = f"s {lines[key]} and {line}" if lines[key] != line else f" {line}"
                raise _RepeatedKeyError(f"the key {key!r} is given twice, in line{where}")
            lines[key] = line
        return super().construct_mapping(node, deep)


def _construct_integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    """Return a whole number; YAMLError for one of too many digits."""
    if len(node.value) > _MOST_DIGITS:
        raise yaml.YAMLError(
            f"the number in line {node.start_mark.line + 1} has more than {_MOST_DIGITS:,} digits"
        )
    return loader.construct_yaml_int(node)


_Loader.add_constructor(_INTEGER, _construct_integer)


class _Dumper(yaml.SafeDumper):
    """What _Loader reads: it puts texts such as 1e5 into quotation marks."""


for _one in (_Loader, _Dumper):
    _one.add_implicit_resolver(_FLOAT, _SCIENTIFIC, list("-+.0123456789"))


class NotYamlError(ValueError):
    """A file that is not YAML."""


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; check_utf8() is the caller's.

    Raises NotYamlError, other ValueErrors that name the file, and OSError.
    """
    try:
        given = yaml.load(read_text(path), _Loader)
    except _RepeatedKeyError as error:
        raise ValueError(f"{path}: {error}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date 2001-99-99
        reason = " ".join(f"{error}".split())  # YAML's own has several lines
        raise NotYamlError(f"{path} is not YAML: {reason}") from error
    return given


def format_yaml(content: Any) -> str:
    """Return the text from which read_yaml() reads the same content, a line for each key."""
    return str(
        yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf)
    )
