"""Measure networks of real size: the engine beside stock Caffe and what else runs networks.

Networks of prototxt/zoo with random weights, the same for all; a forward pass, one with the
gradient with respect to the pixels, and one with the gradients with respect to all weights. Beside
Caffe's own code: PyTorch (eager, channels_last and, with --compile, torch.compile; the fastest
counts), ONNX Runtime, OpenVINO and OpenCV, as far as they are installed: `pip install -e .[zoo]`
installs them. All of a network run in one process, in turns; the figures are medians.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_report import begin_record, format_left_table, format_origin
from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.parser import add_output, check_at_least
from caffe_ext.errors import RecordError
from caffe_ext.runtime.checkout import ROOT
from caffe_ext.storage.atomic import replace_file, write_json, write_text
from caffe_ext.storage.json_file import read_json
from child_process import measure_in_child, run_child
from job_timing import find_fastest, time_jobs
from zoo_jobs import (
    PACKAGES,
    TASKS,
    USUAL,
    list_zoo_networks,
    make_peak_job,
    make_peers,
    make_subject,
)

TITLES = ("caffe_ext", "stock Caffe", "PyTorch", "ONNX Runtime", "OpenVINO", "OpenCV")
AVX2 = {
    "CAFFE_EXT_VECTOR_LANES": "8",
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""The environment in which ours, OpenBLAS and PyTorch leave AVX-512 alone."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add(
        "--networks",
        nargs="+",
        metavar="NAME",
        choices=list_zoo_networks(),
        default=list(USUAL),
        help=f"of {', '.join(list_zoo_networks())} (default: {' '.join(USUAL)})",
    )
    add("--batches", nargs="+", type=int, metavar="N", default=[1, 8], help="(default: 1 8)")
    add("--threads", nargs="+", type=int, metavar="N", default=[1], help="(default: 1)")
    add("--rounds", type=int, metavar="N", default=3, help="of 4 runs each (default: 3)")
    add(
        "--compile",
        action="store_true",
        help="compile the networks for PyTorch, too; takes minutes for each row of the table",
    )
    add(
        "--avx2",
        action="store_true",
        help="use no AVX-512, for processors without it: ours, stock Caffe and PyTorch; the others "
        "cannot be told to and are left out. Writes bench_zoo_avx2.json, .md and .svg",
    )
    add_output(parser, ROOT / "results", "bench_zoo.json, .md and .svg")
    add(
        "--add",
        action="store_true",
        help="add rows to those in --output, which must be of this commit and machine, without "
        "changes: results in the checkout are one",
    )
    add(
        "--child",
        nargs=4,
        metavar=("NETWORK", "BATCH", "THREADS", "TASK"),
        help=argparse.SUPPRESS,
    )
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 1, "rounds")
    if min(*arguments.batches, *arguments.threads, 1) < 1:
        parser.error("--batches and --threads must be at least 1")
    return arguments


def measure(asked: argparse.Namespace, name: str, batch: int, threads: int) -> dict[str, Any]:
    """Return the measurements of a network, each task in a process of its own: memory is large."""
    options = ["--rounds", asked.rounds, *["--compile"] * asked.compile, *["--avx2"] * asked.avx2]
    environment = {"OMP_NUM_THREADS": f"{threads}"} | (AVX2 if asked.avx2 else {})
    jobs: list[dict[str, Any]] = []
    differ: dict[str, float] = {}
    for task in TASKS:
        arguments = [*options, "--child", name, batch, threads, task]
        result = measure_in_child(__file__, arguments, name, environment)
        jobs += result["jobs"]
        differ |= result["differ"]
    return {"network": name, "batch": batch, "threads": threads, "differ": differ, "jobs": jobs}


def print_figures(
    name: str, batch: int, threads: int, task: str, asked: argparse.Namespace
) -> None:
    """Measure a task in this process, and print the figures as JSON."""
    import caffe_ext.runtime.engine  # noqa: F401  (the plug-in, before any layer is made)

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / f"{name}.caffemodel"
        subject = make_subject(name, weights, batch, threads, asked.compile)
        found = list(make_peers(subject, task, ("torch",) if asked.avx2 else PACKAGES))
    jobs = [*(peer.job for peer in found), make_peak_job(threads)]
    title = f"{name}, batch {batch}, {task}"
    with Console().show_progress(title, asked.rounds + 1, "round") as step:
        times = time_jobs(jobs, asked.rounds, lambda: step(1))
    print(json.dumps({"differ": {peer.title: peer.differ for peer in found}, "jobs": times}))


def choose_clock(measured: Mapping[str, Any]) -> str:
    """Return which clock counts: with one thread the process's, which leaves other work out."""
    return "process_ms" if measured["threads"] == 1 else "elapsed_ms"


def find(measured: Mapping[str, Any], task: str, title: str) -> float | None:
    """Return the milliseconds of the fastest job of a task; None: there is none."""
    job = find_fastest(measured, task, title, choose_clock(measured))
    return None if job is None else float(job[choose_clock(measured)])


def compute_speed(measured: Mapping[str, Any], task: str, title: str) -> float:
    """Return the operations of a task in a time, in 10^12 a second."""
    job = find_fastest(measured, task, title, choose_clock(measured))
    assert job is not None
    return float(job["gflop"] / job[choose_clock(measured)])


def list_titles(measurements: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which of TITLES were measured."""
    found = [job["framework"] for measured in measurements for job in measured["jobs"]]
    return [title for title in TITLES if any(one.startswith(title) for one in found)]


def make_rows(measurements: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the table's cells."""
    cells = []
    titles = list_titles(measurements)
    for measured in measurements:
        for task in TASKS:
            times = [find(measured, task, title) for title in titles]
            ours, others = times[0], [one for one in times[1:] if one is not None]
            share = compute_speed(measured, task, TITLES[0]) / compute_speed(
                measured, "peak", "OpenBLAS"
            )
            assert ours is not None
            cells.append(
                (
                    measured["network"],
                    f"{measured['batch']}",
                    f"{measured['threads']}",
                    task,
                    *("–" if one is None else f"{one:.1f}" for one in times),
                    f"{min(others) / ours:.2f}",
                    f"{100 * share:.0f} %",
                )
            )
    return cells


def format_table(measurements: Sequence[Mapping[str, Any]]) -> str:
    """Return the measurements as a table in Markdown, in milliseconds."""
    others = list_titles(measurements)[1:]
    head = ("network", "batch", "threads", "task", "ours", *others)
    return format_left_table(
        [(*head, "best other / ours", "of the peak"), *make_rows(measurements)]
    )


def report(record: Mapping[str, Any], avx2: bool) -> str:
    """Return bench_zoo.md, or bench_zoo_avx2.md."""
    names = f"bench_zoo{'_avx2' * avx2}"
    without = " without AVX-512" * avx2
    note = f"\n\nThe environment: {', '.join(f'`{k}={v}`' for k, v in AVX2.items())}." * avx2
    largest = max(
        difference for one in record["measurements"] for difference in one["differ"].values()
    )
    return f"""\
# How fast networks of real size are{without}

Milliseconds of a forward pass, of one with the gradient with respect to the pixels, and of one with
the gradients with respect to all weights ("training", without the update).

{format_table(record["measurements"])}

![relative to ours]({names}.svg)

The weights are random and the same for all; the logits differ by at most {largest:.1g} of the
largest. With one thread the processor time of the process counts, with more the time that passed.
Of the peak: the operations that the layers' definitions have, in relation to a product of matrices
of 1024 x 1024 by the same BLAS.{note}

| | |
|---|---|
{format_origin(record)}
| others | {", ".join(f"{name} {version}" for name, version in record["peers"].items())} |
"""


def draw(measurements: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the times relative to ours as bars, a row for each batch and number of threads."""
    from matplotlib.figure import Figure

    colours = ("#2a6fbb", "#9aa5b1", "#e07a3f", "#3c9d6b", "#8a63c9", "#c9a227")
    colour_of = dict(zip(TITLES, colours, strict=True))
    shown = {title: colour_of[title] for title in list_titles(measurements)}
    rows = sorted({(one["batch"], one["threads"]) for one in measurements})
    networks = list(dict.fromkeys(one["network"] for one in measurements))
    width = 2 + 1.2 * len(networks)
    figure = Figure(figsize=(len(TASKS) * width, 2.6 * len(rows) + 0.6), layout="constrained")
    grid = figure.subplots(len(rows), len(TASKS), squeeze=False, sharey="row")
    for panels, (batch, threads) in zip(grid, rows, strict=True):
        for panel, task in zip(panels, TASKS, strict=True):
            for one in measurements:
                if (one["batch"], one["threads"]) == (batch, threads):
                    draw_bars(panel, one, task, networks.index(one["network"]), shown)
            panel.axhline(1, color=colours[0], linewidth=0.8)
            panel.set_title(f"{task}, batch {batch}, threads: {threads}", fontsize=10)
            panel.set_xticks(range(len(networks)), networks, fontsize=8)
            panel.spines[["top", "right"]].set_visible(False)
            panel.tick_params(length=0)
        panels[0].set_ylabel("time relative to ours")
    keys = zip(*grid[0, 0].get_legend_handles_labels(), strict=True)
    found = {label: handle for handle, label in keys}
    figure.legend(found.values(), found.keys(), ncols=len(TITLES), loc="outside lower center")
    with replace_file(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix("."), metadata={"Date": None})


def draw_bars(
    panel: Any, measured: Mapping[str, Any], task: str, place: int, colours: Mapping[str, str]
) -> None:
    """Draw a network's times for a task, relative to ours, side by side in a panel.

    colours  by the titles of all that the picture shows
    """
    ours = find(measured, task, TITLES[0])
    assert ours is not None
    for number, (title, colour) in enumerate(colours.items()):
        time = find(measured, task, title)
        if time is not None:
            x = place + 0.14 * (number - (len(colours) - 1) / 2)
            panel.bar(x, time / ours, 0.13, color=colour, label=title)


def find_peers() -> dict[str, str]:
    """Return the versions of what else is installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for title, package in {
        "PyTorch": "torch",
        "ONNX Runtime": "onnxruntime",
        "OpenVINO": "openvino",
        "OpenCV": "opencv-python-headless",
    }.items():
        with suppress(PackageNotFoundError):
            found[title] = version(package)
    return found


@dataclass(frozen=True)
class Measured:
    """What bench_zoo.json must have to be added to."""

    command: str
    commit: str
    machine: dict[str, Any]
    peers: dict[str, Any]
    measurements: list[dict[str, Any]]


def add_to(path: Path, record: dict[str, Any]) -> None:
    """Put the measurements and the command of a file before those of a record.

    Ends the program with a sentence if the file is not there, is damaged, or was measured
    elsewhere.
    """
    refusal = f"{path}: cannot be added to"
    if not path.exists():
        sys.exit(f"{refusal}: there is no such file")
    try:
        before = read_json(path, Measured, "measure again, without --add")
    except RecordError as error:
        sys.exit(f"{error}")
    for key in ("commit", "machine", "peers"):
        found = getattr(before, key)
        if found != record[key]:
            sys.exit(f"{refusal}: its {key} is {found}, not {record[key]}")
    record["measurements"] = before.measurements
    record["command"] = f"{before.command} && {record['command']}"


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    stem = arguments.output / f"bench_zoo{'_avx2' * arguments.avx2}"
    record = begin_record(arguments.output, peers=find_peers(), measurements=[])
    if arguments.add:
        add_to(stem.with_suffix(".json"), record)
    asked = TITLES[2:3] if arguments.avx2 else TITLES[2:]
    missing = [title for title in asked if title not in record["peers"]]
    if missing:
        Console().note(
            f"{', '.join(missing)} not installed and left out: pip install -e .[bench,zoo]"
        )
    done = {(one["network"], one["batch"], one["threads"]) for one in record["measurements"]}
    for name in arguments.networks:
        for threads in arguments.threads:
            for batch in arguments.batches:
                if (name, batch, threads) not in done:
                    record["measurements"].append(measure(arguments, name, batch, threads))
                    write_json(stem.with_suffix(".json"), record)
    write_text(stem.with_suffix(".md"), report(record, arguments.avx2))
    draw(record["measurements"], stem.with_suffix(".svg"))
    print(format_table(record["measurements"]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    arguments = parse(argv)
    if not arguments.child:
        return run_program(run, arguments)
    name, batch, threads, task = arguments.child
    return run_child(lambda: print_figures(name, int(batch), int(threads), task, arguments))


if __name__ == "__main__":
    sys.exit(main())
