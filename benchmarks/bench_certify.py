"""Measure how many noisy samples a second randomized smoothing classifies, beside PyTorch.

Both make noise of their own, round and clip it to grey levels, classify the samples and count their
classes, for one image of LeNet's or CIFAR-10 quick's size; PyTorch eager, in the layout that it
likes better, compiled, and both, of which the best counts. Each framework runs in a process of its
own, as often as the other, in turns. PyTorch comes with `pip install -e .[bench]`; --torch-python
names the Python of another environment that has it. Without it, ours is measured alone.
"""

# The packages, which load Caffe and PyTorch, are imported late: only the children need them.
# ruff: noqa: PLC0415

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench_report import begin_record
from caffe_ext.cli.parser import add_output, check_at_least
from caffe_ext.runtime.checkout import ROOT
from engine_jobs import FORWARD_BATCH, NETWORKS, Network
from torch_jobs import build_network, set_torch_modes

TARGET = 1.5
SIGMA, SAMPLES = 63.75, 5 * FORWARD_BATCH
Sampling = Callable[[], Any]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=5, metavar="N", help="of each (default: %(default)s)")
    add("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="what to measure")
    add(
        "--torch-python",
        type=Path,
        default=Path(sys.executable),
        metavar="FILE",
        help="a Python with PyTorch (default: this one); where it has none, PyTorch is left out",
    )
    add_output(parser, ROOT / "results", "bench_certify.json")
    add("--child", nargs=3, metavar=("FRAMEWORK", "NETWORK", "THREADS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 1, "rounds")
    return arguments


def sample_with_caffe(network: Network, threads: int) -> Iterator[tuple[str, Sampling]]:
    """Yield what `certify smoothing` does for SAMPLES samples of an image."""
    import tempfile

    import caffe
    import numpy as np

    from caffe_ext.certification.noise import NoisyCopies, add_noise, make_gaussian_table
    from caffe_ext.models.classifier import Classifier
    from caffe_ext.models.pixels import PixelSpace
    from caffe_ext.runtime import engine
    from engine_jobs import set_weights

    engine.set_threads(threads)
    deploy = ROOT / f"prototxt/{network.stem}_deploy.prototxt"
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "known.caffemodel"
        net = caffe.Net(str(deploy), caffe.TEST)
        set_weights(net)
        net.save(str(weights))
        model = Classifier(deploy, weights, PixelSpace(1 / 256), batch_size=FORWARD_BATCH)
    image = np.full((1, *network.shape), 128, np.uint8)
    zeros = np.zeros(SAMPLES, np.int64)

    def run() -> Any:
        noisy = add_noise(
            image, make_gaussian_table(SIGMA), 1, NoisyCopies(zeros, zeros, np.arange(SAMPLES))
        )
        return np.bincount(model.predict(noisy), minlength=10)

    yield "caffe_ext", run


def sample_with_torch(network: Network, threads: int) -> Iterator[tuple[str, Sampling]]:
    """Yield the same of PyTorch's, as the reference implementation of smoothing does it."""
    import torch

    for title, layout, wrap in set_torch_modes(threads):
        model = build_network(network).to(memory_format=layout)
        image = torch.full((1, *network.shape), 128.0)

        def classify(x: Any, model: Any = model, layout: Any = layout) -> Any:
            noise = torch.randn(FORWARD_BATCH, *x.shape[1:]).to(memory_format=layout)
            noisy = torch.round(x + SIGMA * noise).clamp(0, 255) * (1 / 256)
            return model(noisy).argmax(1)

        step = wrap(classify)

        def run(step: Any = step, image: Any = image) -> Any:
            with torch.inference_mode():
                classes = [step(image) for _ in range(SAMPLES // FORWARD_BATCH)]
                return torch.bincount(torch.cat(classes), minlength=10).numpy()

        yield title, run


def print_figures(framework: str, network: Network, threads: int) -> None:
    """Print samples a second of each way of a framework as JSON: of one round."""
    makers = {"caffe": sample_with_caffe, "torch": sample_with_torch}
    found = {}
    for title, run in makers[framework](network, threads):
        run()
        run()
        seconds, processor = [], []
        for _ in range(4):
            wall, cpu = time.perf_counter(), time.process_time()
            counts = run()
            seconds.append(time.perf_counter() - wall)
            processor.append(time.process_time() - cpu)
        assert int(counts.sum()) == SAMPLES
        found[title] = [
            SAMPLES / statistics.median(seconds),
            1e6 * statistics.median(processor) / SAMPLES,
        ]
    print(json.dumps(found))


def has_torch(python: Path) -> bool:
    """Return whether PyTorch is installed for this Python."""
    asked = "import sys; from importlib.util import find_spec; sys.exit(find_spec('torch') is None)"
    return subprocess.run([str(python), "-c", asked], check=False).returncode == 0


def run_round(
    python: Path, framework: str, network: Network, threads: int
) -> dict[str, list[float]]:
    """Return what a child prints."""
    command = [str(python), __file__, "--child", framework, network.stem, str(threads)]
    path = os.pathsep.join([str(ROOT / "caffe_ext/python"), os.environ.get("PYTHONPATH", "")])
    variables = {"OMP_NUM_THREADS": str(threads), "GLOG_minloglevel": "2", "PYTHONPATH": path}
    done = subprocess.run(
        command, env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"measuring {network.title} with {framework} failed, see above")
    result: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(
    rounds: int, pythons: Mapping[str, Path], network: Network, threads: int
) -> dict[str, Any]:
    """Return medians over the rounds, in which the frameworks take turns.

    pythons  by the framework that each runs; without torch, the ratios are None
    """
    found: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        for framework, python in pythons.items():
            for title, figures in run_round(python, framework, network, threads).items():
                found.setdefault(title, []).append(figures)
    medians = {
        title: [statistics.median(column) for column in zip(*figures, strict=True)]
        for title, figures in found.items()
    }
    speed, processor = medians.pop("caffe_ext")
    fastest = max(medians, key=lambda title: medians[title][0], default=None)
    least = min((cpu for _, cpu in medians.values()), default=None)
    return {
        "network": network.title,
        "threads": threads,
        "samples_per_second": speed,
        "processor_us_per_sample": processor,
        "pytorch": medians,
        "pytorch_best": fastest,
        "ratio": None if fastest is None else speed / medians[fastest][0],
        "processor_ratio": None if least is None else least / processor,
    }


def format_figures(measured: Mapping[str, Any]) -> str:
    """Return what is printed of a network."""
    text = (
        f"{measured['network']}, threads: {measured['threads']}: "
        f"{measured['samples_per_second']:,.0f} samples a second, processor time "
        f"{measured['processor_us_per_sample']:.1f} us a sample"
    )
    if measured["ratio"] is None:
        return text
    return (
        f"{text}; {measured['ratio']:.2f} times {measured['pytorch_best']}, in processor time "
        f"{measured['processor_ratio']:.2f}; target: at least {TARGET:g}"
    )


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say."""
    from caffe_ext.cli.console import Console
    from caffe_ext.storage.atomic import write_json

    record = begin_record(arguments.output, target_ratio=TARGET, measurements=[])
    pythons = {"caffe": Path(sys.executable), "torch": arguments.torch_python}
    if not has_torch(pythons["torch"]):
        Console().note("PyTorch is not installed and left out: pip install -e .[bench]")
        del pythons["torch"]
    for name in arguments.networks:
        for threads in (1, 2):
            if threads <= len(os.sched_getaffinity(0)):
                measured = measure(arguments.rounds, pythons, NETWORKS[name], threads)
                record["measurements"].append(measured)
                print(format_figures(measured))
    write_json(arguments.output / "bench_certify.json", record)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    arguments = parse(argv)
    if arguments.child:
        framework, network, threads = arguments.child
        print_figures(framework, NETWORKS[network], int(threads))
        return 0
    from caffe_ext.cli.console import run_program

    return run_program(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
