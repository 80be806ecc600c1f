"""What the records and reports of benchmarks share: what the figures depend on, and tables."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any


def begin_record(output: Path, **more: Any) -> dict[str, Any]:
    """Return the beginning of a record: where and how it is measured, the load before, and `more`.

    Makes the folder for the results; ends the program with a sentence if it is not writable.
    """
    from caffe_ext.storage.provenance import collect_provenance  # noqa: PLC0415  (it loads Caffe)

    record = asdict(collect_provenance()) | {"load_average": os.getloadavg()[0]} | more
    output.mkdir(parents=True, exist_ok=True)
    if not os.access(output, os.W_OK):
        sys.exit(f"{output}: not writable")
    return record


def format_left_table(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells, the head first, as a table in Markdown, all columns to the left."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    return "\n".join([text[0], "|" + "|".join("-" * (n + 2) for n in widths) + "|", *text[1:]])


def format_origin(record: Mapping[str, Any]) -> str:
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
