"""Measure what an iteration of adversarial training costs, and how fast PyTorch is at it.

LeNet and CIFAR-10 quick, PGD of 10 steps, one thread and its processor time. Plain and adversarial
training, ours and PyTorch's (eager, channels_last, torch.compile, and both; the best counts), run
in one process, in turns; the figures are medians. PyTorch comes with `pip install -e .[bench]`.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from adversarial_jobs import make_caffe_jobs, make_torch_jobs
from bench_report import begin_record, format_left_table, format_origin
from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.parser import add_output, check_at_least
from caffe_ext.runtime.checkout import ROOT
from caffe_ext.storage.atomic import write_json, write_text
from child_process import measure_in_child, run_child
from engine_jobs import NETWORKS, Blas, Network
from job_timing import find_fastest, time_jobs
from torch_jobs import find_torch_version

TARGET = 1.5


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=4, metavar="N", help="of each job (default: 4)")
    add("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="what to measure")
    add_output(parser, ROOT / "results", "bench_adversarial.json and .md")
    add("--child", metavar="NETWORK", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 1, "rounds")
    return arguments


def measure(network: Network, rounds: int) -> dict[str, Any]:
    """Return the measurements of a network, from a process of its own."""
    arguments = ["--rounds", rounds, "--child", network.stem]
    result: dict[str, Any] = measure_in_child(
        __file__, arguments, network.title, {"OMP_NUM_THREADS": "1"}
    )
    return result


def print_figures(network: Network, rounds: int) -> None:
    """Measure in this process, and print the figures as JSON."""
    from caffe_ext.runtime import engine

    engine.set_threads(1)
    jobs = list(make_caffe_jobs(network, partial(Blas().set_threads, 1)))
    if find_torch_version() is not None:
        jobs += make_torch_jobs(network, 1)
    with Console().show_progress(network.title, rounds + 1, "round") as step:
        times = time_jobs(jobs, rounds, lambda: step(1))
    print(json.dumps({"network": network.title, "batch": network.batch, "jobs": times}))


def find(measured: Mapping[str, Any], task: str, framework: str) -> Mapping[str, Any] | None:
    """Return the fastest job of a task whose framework begins like that; None: there is none."""
    return find_fastest(measured, task, framework, "thread_ms")


def format_table(measurements: Sequence[Mapping[str, Any]]) -> str:
    """Return the measurements as a table in Markdown, in milliseconds."""
    head = ("network", "batch", "plain", "adversarial", "cost", "arithmetic")
    lines = [(*head, "PyTorch adversarial", "its best mode", "PyTorch / ours")]
    for measured in measurements:
        plain, ours = (find(measured, task, "caffe_ext") for task in ("plain", "adversarial"))
        assert plain is not None and ours is not None
        torch = find(measured, "adversarial", "PyTorch")
        lines.append(
            (
                measured["network"],
                str(measured["batch"]),
                f"{plain['thread_ms']:.1f}",
                f"{ours['thread_ms']:.1f}",
                f"{ours['thread_ms'] / plain['thread_ms']:.2f}",
                f"{ours['gflop'] / plain['gflop']:.2f}",
                f"{torch['thread_ms']:.1f}" if torch else "–",
                torch["framework"].removeprefix("PyTorch ") if torch else "–",
                f"{torch['thread_ms'] / ours['thread_ms']:.2f}" if torch else "–",
            )
        )
    return format_left_table(lines)


def report(record: Mapping[str, Any]) -> str:
    """Return bench_adversarial.md."""
    peer = f"PyTorch {record['pytorch']}" if record["pytorch"] else "PyTorch is not installed"
    return f"""\
# What adversarial training costs

Milliseconds of a training iteration, plain and with PGD of 10 steps (alpha 0.5), with one thread.
The cost is adversarial / plain. Beside it stands that of the arithmetic: the operations of the
layers' definitions in two forward and backward passes to the weights and ten to the images, in
relation to those of one pass to the weights.

Target: PyTorch / ours at least {TARGET}.

{format_table(record["measurements"])}

Medians of runs in turns in one process, in processor time, which leaves out what other processes
took away; the same random images in memory for all, no data layer. The attack sees the network as
it is deployed, and computes no weight gradients, in PyTorch neither.

| | |
|---|---|
{format_origin(record)}
| peer | {peer} |
"""


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    record = begin_record(
        arguments.output, pytorch=find_torch_version(), target=TARGET, measurements=[]
    )
    if record["pytorch"] is None:
        Console().note("PyTorch is not installed and left out: pip install -e .[bench]")
    for name in arguments.networks:
        record["measurements"].append(measure(NETWORKS[name], arguments.rounds))
    stem = arguments.output / "bench_adversarial"
    write_json(stem.with_suffix(".json"), record)
    write_text(stem.with_suffix(".md"), report(record))
    print(format_table(record["measurements"]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    arguments = parse(argv)
    if not arguments.child:
        return run_program(run, arguments)
    return run_child(lambda: print_figures(NETWORKS[arguments.child], arguments.rounds))


if __name__ == "__main__":
    sys.exit(main())
