"""Measure how fast the engine is: against Caffe's own code, and against PyTorch where it is there.

LeNet and CIFAR-10 quick, the same random images in memory for all: a training iteration with SGD
and with BANG, and a forward pass of 500 images, with one thread and with two. All of them run in
one process, in turns, and the figures are medians. PyTorch (eager, channels_last, torch.compile,
and both; the best counts) comes with `pip install -e .[bench]`.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench_report import begin_record, format_left_table, format_origin
from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.parser import add_output, check_at_least
from caffe_ext.runtime.checkout import ROOT
from caffe_ext.storage.atomic import replace_file, write_json, write_text
from child_process import measure_in_child, run_child
from engine_jobs import (
    NETWORKS,
    Network,
    compute_caffe_scores,
    compute_relative_difference,
    make_caffe_jobs,
)
from job_timing import RUNS, find_fastest, time_jobs
from torch_jobs import compute_torch_scores, find_torch_version, make_torch_jobs

TASKS = ("SGD", "BANG", "forward")
THREADS = (1, 2)
TARGETS = {"SGD": None, "BANG": 1.5, "forward": 1.3}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, metavar="N", help=f"of {RUNS} runs of each job (default: 15, 6)")
    add("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="what to measure")
    add_output(parser, ROOT / "results", "bench_engine.json, .md and .svg")
    add("--child", nargs=2, metavar=("NETWORK", "THREADS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 1, "rounds")
    return arguments


def measure(network: Network, threads: int, rounds: int) -> dict[str, Any]:
    """Return the measurements of a network, from a process of its own."""
    arguments = ["--rounds", rounds, "--child", network.stem, threads]
    result: dict[str, Any] = measure_in_child(
        __file__, arguments, network.title, {"OMP_NUM_THREADS": f"{threads}"}
    )
    return result


def print_figures(network: Network, threads: int, rounds: int) -> None:
    """Measure in this process, and print the figures as JSON."""
    import caffe_ext.runtime.engine  # noqa: F401  (the plug-in, before any layer is made)
    from caffe_ext.storage.provenance import describe_machine

    jobs = list(make_caffe_jobs(network, threads))
    differ = None
    if find_torch_version() is not None:
        differ = compute_relative_difference(
            compute_caffe_scores(network), compute_torch_scores(network)
        )
        jobs += make_torch_jobs(network, threads)
    with Console().show_progress(
        f"{network.title}, {threads} threads", rounds + 1, "round"
    ) as step:
        times = time_jobs(jobs, rounds, lambda: step(1))
    print(
        json.dumps(
            {
                "network": network.title,
                "batch": network.batch,
                "threads": threads,
                "scores_differ": differ,
                "blas_core": describe_machine().blas.core,
                "jobs": times,
            }
        )
    )


def choose_clock(measured: Mapping[str, Any]) -> str:
    """Return which clock counts: with one thread its own, which leaves other processes out."""
    return "thread_ms" if measured["threads"] == 1 else "elapsed_ms"


def find(measured: Mapping[str, Any], task: str, framework: str) -> Mapping[str, Any] | None:
    """Return the fastest job of a task whose framework begins like that; None: there is none."""
    return find_fastest(measured, task, framework, choose_clock(measured))


def make_rows(measurements: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the table's cells."""
    cells: list[tuple[str, ...]] = []
    for measured in measurements:
        key = choose_clock(measured)
        peak = find(measured, "peak", "OpenBLAS")
        for task in TASKS:
            stock, ours = (find(measured, task, name) for name in ("stock Caffe", "caffe_ext"))
            # PyTorch knows no BANG: ours is compared with its SGD.
            torch = find(measured, "SGD" if task == "BANG" else task, "PyTorch")
            assert stock is not None and ours is not None and peak is not None
            share = ours["gflop"] / ours[key] / (peak["gflop"] / peak[key])
            cells.append(
                (
                    measured["network"],
                    str(measured["threads"]),
                    task,
                    f"{stock[key]:.1f}",
                    f"{ours[key]:.1f}",
                    f"{torch[key]:.1f}" if torch else "–",
                    torch["framework"].removeprefix("PyTorch ") if torch else "–",
                    f"{stock[key] / ours[key]:.2f}",
                    f"{torch[key] / ours[key]:.2f}" if torch else "–",
                    f"{100 * share:.0f} %",
                )
            )
    return cells


def format_table(measurements: Sequence[Mapping[str, Any]]) -> str:
    """Return the measurements as a table in Markdown, in milliseconds."""
    head = ("network", "threads", "task", "stock Caffe", "ours", "PyTorch", "its best mode")
    lines = [(*head, "stock / ours", "PyTorch / ours", "of the peak"), *make_rows(measurements)]
    return format_left_table(lines)


def report(record: Mapping[str, Any]) -> str:
    """Return bench_engine.md."""
    peer = f"PyTorch {record['pytorch']}" if record["pytorch"] else "PyTorch is not installed"
    ratios, peaks = [], []
    for measured in record["measurements"]:
        name, key = f"{measured['network']}, threads {measured['threads']}", choose_clock(measured)
        sgd, bang = (find(measured, task, "caffe_ext") for task in ("SGD", "BANG"))
        peak = find(measured, "peak", "OpenBLAS")
        assert sgd is not None and bang is not None and peak is not None
        ratios.append(f"{name}: {bang[key] / sgd[key]:.3f}")
        peaks.append(f"{name}: {1000 * peak['gflop'] / peak[key]:.0f}")
    return f"""\
# How fast the engine is

Milliseconds of a training iteration (SGD, BANG) or of a forward pass of 500 images. BANG is
compared with PyTorch's plain SGD.

Targets: PyTorch / ours at least {TARGETS["BANG"]} for BANG, {TARGETS["forward"]} for forward.

{format_table(record["measurements"])}

![the same as bars](bench_engine.svg)

BANG / SGD of ours: {", ".join(ratios)}.
Peak: a product of matrices of 1024 x 1024 by the same BLAS, in GFLOP/s:
{", ".join(peaks)}.
The share of it counts the operations that the layers' definitions have; the engine's convolutions
of 3 x 3 and 5 x 5 need fewer, so that it can be above 100 %.

Medians of runs in turns in one process; the same random images in memory for all, no data layer.
With one thread, the processor's time of that thread, which leaves out what other processes took
away; with two, the time that passed, which holds other work on the machine.

| | |
|---|---|
{format_origin(record)}
| peer | {peer} |
"""


def draw(measurements: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the measurements as bars, a panel for each network and number of threads."""
    from matplotlib.figure import Figure

    colours = {"stock Caffe": "#9aa5b1", "PyTorch": "#e07a3f", "caffe_ext": "#2a6fbb"}
    figure = Figure(figsize=(3.1 * len(measurements), 3.4), layout="constrained")
    panels = figure.subplots(1, len(measurements), squeeze=False)[0]
    for panel, measured in zip(panels, measurements, strict=True):
        for place, (framework, colour) in enumerate(colours.items()):
            for column, task in enumerate(TASKS):
                job = find(measured, task, framework)
                if job is not None:
                    value = job[choose_clock(measured)]
                    x = column + 0.27 * (place - 1)
                    panel.bar(
                        x, value, 0.25, color=colour, label=framework if column == 0 else None
                    )
                    panel.annotate(f"{value:.0f}", (x, value), ha="center", va="bottom", fontsize=7)
        panel.set_title(f"{measured['network']}, threads: {measured['threads']}", fontsize=10)
        panel.set_xticks(range(len(TASKS)), ["SGD", "BANG", "forward\nof 500"])
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(length=0)
    panels[0].set_ylabel("milliseconds; shorter is better")
    figure.legend(*panels[0].get_legend_handles_labels(), ncols=3, loc="outside lower center")
    with replace_file(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix("."), metadata={"Date": None})


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    record = begin_record(
        arguments.output, pytorch=find_torch_version(), targets=TARGETS, measurements=[]
    )
    if record["pytorch"] is None:
        Console().note("PyTorch is not installed and left out: pip install -e .[bench]")
    for name in arguments.networks:
        network = NETWORKS[name]
        for threads in THREADS:
            if threads <= len(os.sched_getaffinity(0)):
                rounds = arguments.rounds or network.rounds
                record["measurements"].append(measure(network, threads, rounds))
    stem = arguments.output / "bench_engine"
    write_json(stem.with_suffix(".json"), record)
    write_text(stem.with_suffix(".md"), report(record))
    draw(record["measurements"], stem.with_suffix(".svg"))
    print(format_table(record["measurements"]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    arguments = parse(argv)
    if not arguments.child:
        return run_program(run, arguments)
    name, threads = arguments.child
    return run_child(lambda: print_figures(NETWORKS[name], int(threads), arguments.rounds))


if __name__ == "__main__":
    sys.exit(main())
