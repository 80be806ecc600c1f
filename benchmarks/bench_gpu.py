"""Measure how fast Caffe, the plug-in and PyTorch are on a GPU: training, forward passes, HC1.

LeNet and CIFAR-10 quick, the same random images in memory for all: a training iteration with SGD
and with BANG, and a forward pass of 500 images. Caffe's own layers and those of the engine run in
turns in one process; PyTorch (eager, and as CUDA graphs) in one of its own, which may belong to
another Python; the two processes take turns, too. Without a GPU nothing is measured.
"""

# The package, which loads Caffe, is imported late: --help is instant, and a Python that has PyTorch
# alone can run its child.
# ruff: noqa: PLC0415

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.device_argument import parse_gpu_number
from caffe_ext.cli.image_arguments import add_image_arguments
from caffe_ext.cli.model_arguments import add_model_arguments
from caffe_ext.cli.parser import add_output, check_at_least
from caffe_ext.runtime.checkout import ROOT
from caffe_ext.storage.atomic import write_json, write_text
from engine_jobs import (
    NETWORKS,
    Network,
    compute_caffe_scores,
    compute_relative_difference,
    make_layer_jobs,
)
from job_timing import repeat, time_jobs
from torch_jobs import compute_torch_scores, find_torch_version, make_torch_gpu_jobs

# So often a job runs before it waits for the GPU, as in a training that nobody watches.
ITERATIONS = 20
WARM_UP = 3
SCORES = 8
TARGET_RATIO = 1.03


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    # Not `gpu`, which programs must have: this one may do without.
    add(
        "--gpu",
        dest="number",
        type=parse_gpu_number,
        default=0,
        metavar="N",
        help="which (default: 0)",
    )
    add("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="what to train")
    add("--rounds", type=int, default=5, metavar="N", help="in each process (default: 5)")
    add("--processes", type=int, default=3, metavar="N", help="of each framework (default: 3)")
    add(
        "--torch-python",
        default=sys.executable,
        metavar="FILE",
        help="the Python that has PyTorch (default: this one)",
    )
    add_output(parser, ROOT / "results" / "gpu", "bench_gpu.json, .md and .svg")
    add(
        "--report",
        type=Path,
        metavar="JSON",
        help="measure nothing: write .md and .svg of a bench_gpu.json, from another machine, say",
    )
    add("--child", nargs=3, metavar=("WHAT", "NETWORK", "DEVICE"), help=argparse.SUPPRESS)
    add_model_arguments(parser, several=False)
    add_image_arguments(parser, limit=10_000)
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 1, "rounds", "processes")
    return arguments


def run_caffe_child(network: Network, device: str, rounds: int) -> dict[str, Any]:
    """Return the figures of Caffe and the engine."""
    from caffe_ext.runtime.device import Device, synchronize
    from paired_timing import time_pair

    Device.parse(device).use()
    jobs = [
        repeat(job, ITERATIONS, synchronize)
        for on in (False, True)
        for job in make_layer_jobs(network, on)
    ]
    ours = {job.task: job.run for job in jobs if job.framework == "caffe_ext"}
    times = time_jobs(jobs, rounds, lambda: None)
    bang = time_pair(ours["SGD"], ours["BANG"], 4 * rounds, WARM_UP)
    scores = compute_caffe_scores(network)[:SCORES].tolist()
    return {"jobs": times, "bang": asdict(bang.elapsed), "scores": scores}


def run_torch_child(network: Network, device: str, rounds: int) -> dict[str, Any]:
    """Return the figures of PyTorch; just {"version": None} where it has no GPU or is not there."""
    if find_torch_version() is None:
        return {"version": None, "reason": "PyTorch is not installed"}
    import torch

    if not torch.cuda.is_available():
        return {"version": None, "reason": f"PyTorch {find_torch_version()} finds no GPU"}
    torch.cuda.set_device(int(device.removeprefix("gpu:")))
    jobs = [
        repeat(job, ITERATIONS, torch.cuda.synchronize)
        for job in list(make_torch_gpu_jobs(network))
    ]
    return {
        "version": find_torch_version(),
        "device": torch.cuda.get_device_name(),
        "jobs": time_jobs(jobs, rounds, lambda: None),
        "scores": compute_torch_scores(network, "cuda")[:SCORES].tolist(),
    }


def call_child(python: str, what: str, network: Network, arguments: argparse.Namespace) -> Any:
    """Return the figures of a process; end the program if it fails, but go on without PyTorch."""
    command = [python, __file__, "--rounds", str(arguments.rounds)]
    command += ["--child", what, network.stem, f"gpu:{arguments.number}"]
    environment = os.environ | {"GLOG_minloglevel": "2"}
    if python != sys.executable:  # which has packages of its own
        environment = {k: v for k, v in environment.items() if not k.startswith("PYTHON")}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=False)
    if done.returncode and what == "torch":
        reason = f"PyTorch failed on {network.title} (exit status {done.returncode})"
        Console().warn(f"{reason}, see above")
        return {"version": None, "reason": reason}
    if done.returncode:
        sys.exit(f"measuring {network.title} ({what}) failed, see above")
    return json.loads(done.stdout.splitlines()[-1])


def measure(network: Network, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of a network: processes of Caffe and of PyTorch in turns."""
    caffe, torch = [], []
    with Console().show_progress(network.title, 2 * arguments.processes, "process") as step:
        for _ in range(arguments.processes):
            caffe.append(call_child(sys.executable, "caffe", network, arguments))
            step(1)
            torch.append(call_child(arguments.torch_python, "torch", network, arguments))
            step(1)
    return summarize_processes(network, caffe, torch)


def summarize_processes(
    network: Network, caffe: Sequence[Mapping[str, Any]], torch: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the figures of a network's processes as one: medians of their medians."""
    missing = next((process for process in torch if process["version"] is None), None)
    jobs: dict[tuple[str, str], list[float]] = {}
    for process in caffe if missing else (*caffe, *torch):
        for job in process["jobs"]:
            key = job["task"], job["framework"]
            jobs.setdefault(key, []).append(job["elapsed_ms"] / ITERATIONS)
    return {
        "network": network.title,
        "batch": network.batch,
        "pytorch": None if missing else torch[0]["version"],
        "pytorch_device": None if missing else torch[0]["device"],
        "without_pytorch": missing["reason"] if missing else None,
        "scores_differ": None
        if missing
        else compute_relative_difference(caffe[0]["scores"], torch[0]["scores"]),
        "jobs": [
            {
                "task": task,
                "framework": framework,
                "ms": median(times),
                "per_second": 1000 / median(times),
                "ms_of_processes": times,
            }
            for (task, framework), times in jobs.items()
        ],
        "bang": [process["bang"] for process in caffe],
    }


def write_report(record: Mapping[str, Any], folder: Path) -> None:
    """Write the report beside the record, and print its tables."""
    from gpu_report import draw, format_summary, report

    print(format_summary(record))
    write_text(folder / "bench_gpu.md", report(record))
    try:
        draw(record["measurements"], folder / "bench_gpu.svg")
    except ImportError as error:
        Console().note(f"no bench_gpu.svg ({error}); --report draws it elsewhere")


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    if arguments.report:
        record = json.loads(arguments.report.read_text())
        write_report(record, arguments.report.parent)
    else:
        run_benchmark(arguments)


def run_benchmark(arguments: argparse.Namespace) -> None:
    """Measure, and write what came out."""
    from caffe_ext.data import DataError
    from caffe_ext.errors import DeviceError
    from caffe_ext.runtime.device import Device, count_gpus
    from caffe_ext.runtime.quiet import silence_caffe
    from caffe_ext.storage.provenance import collect_provenance
    from gpu_search import measure_search

    device = Device(arguments.number)
    try:
        device.use()
    except DeviceError as error:
        if count_gpus():
            sys.exit(f"{error}")
        print(f"skipped: no GPU: {error}")
        return
    record: dict[str, Any] = asdict(collect_provenance()) | {
        "load_average": os.getloadavg()[0],
        "target_ratio": TARGET_RATIO,
        "iterations_at_a_time": ITERATIONS,
        "processes": arguments.processes,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    if not os.access(arguments.output, os.W_OK):
        sys.exit(f"{arguments.output}: not writable")
    try:
        with silence_caffe():
            record["search"] = measure_search(arguments, device)
    except (DataError, ValueError) as error:
        sys.exit(f"{error}")
    record["measurements"] = [measure(NETWORKS[name], arguments) for name in arguments.networks]
    write_json(arguments.output / "bench_gpu.json", record)
    write_report(record, arguments.output)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    arguments = parse(argv)
    if not arguments.child:
        return run_program(run, arguments)
    what, name, device = arguments.child
    with suppress(KeyboardInterrupt):  # the parent got the same Ctrl-C, and speaks
        child = {"caffe": run_caffe_child, "torch": run_torch_child}[what]
        print(json.dumps(child(NETWORKS[name], device, arguments.rounds)))
        return 0
    return 130


if __name__ == "__main__":
    sys.exit(main())
