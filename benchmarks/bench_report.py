"""What the reports of benchmarks share: what the figures depend on."""

from collections.abc import Mapping
from typing import Any


def origin(record: Mapping[str, Any]) -> str:
    """Return the rows of a Markdown table that say how and where a record was measured."""
    about, blas = record["machine"], record["machine"]["blas"]
    return f"""\
| command | `{record["command"]}` |
| date | {record["date"]} |
| version | {record["version"]}, commit {record["commit"]} |
| processor | {about["cpu"]}, {about["cores"]} cores, {about["memory_gib"]} GiB of memory |
| networks computed on | {record["device"]} |
| load before | {record["load_average"]:.1f} processes |
| system | {about["system"]} |
| compiler | {about["compiler"]} |
| BLAS | {blas["name"]} {blas["version"]} ({blas["core"]} kernels) |"""
