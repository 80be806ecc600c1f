"""The words, tables and bars of bench_gpu.py, made of its record."""

# Matplotlib is imported late: --help is instant.
# ruff: noqa: PLC0415

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench_report import format_origin
from caffe_ext.storage.atomic import replace_file
from engine_jobs import FORWARD_BATCH
from search_report import format_table

Record = Mapping[str, Any]
TASKS = ("SGD", "BANG", "forward")
STOCK, OURS = "stock Caffe", "caffe_ext"
PEERS = ("PyTorch eager", "PyTorch graphs", "PyTorch graphs, TF32")
COLOURS = {STOCK: "#9aa5b1", OURS: "#2a6fbb"} | dict(
    zip(PEERS, ("#f4c7a1", "#e07a3f", "#a8521f"), strict=True)
)


def compute_speed(measured: Record, task: str, framework: str) -> float | None:
    """Return how often a second; PyTorch, which knows no BANG, trains with SGD in its place."""
    task = "SGD" if task == "BANG" and framework in PEERS else task
    for job in measured["jobs"]:
        if (job["task"], job["framework"]) == (task, framework):
            return float(job["per_second"])
    return None


def format_summary(record: Record) -> str:
    """Return the tables, which read well in a terminal, too."""
    measurements = record["measurements"]
    return "\n\n".join(
        [_format_speeds(measurements), _format_ratios(measurements), _search(record["search"])]
    )


def report(record: Record) -> str:
    """Return bench_gpu.md."""
    measurements, search = record["measurements"], record["search"]
    missing = dict.fromkeys(m["without_pytorch"] for m in measurements if m["without_pytorch"])
    versions = dict.fromkeys(
        f"PyTorch {m['pytorch']} on {m['pytorch_device']}" for m in measurements if m["pytorch"]
    )
    differ = [m["scores_differ"] for m in measurements if m["scores_differ"] is not None]
    same = f"; scores of the same weights differ by {max(differ):.0e}" if differ else ""
    return f"""\
# How fast it is on a GPU

How often a second: a training iteration (SGD, BANG; the batch stands behind the network), and a
forward pass of {FORWARD_BATCH} images. BANG stands beside PyTorch's plain SGD. In float32 but for
the last column, in which PyTorch multiplies in TensorFloat-32, with 10 bits of each factor.

{_format_speeds(measurements)}

![the same as bars](bench_gpu.svg)

What BANG costs: the time of {record["iterations_at_a_time"]} iterations with it in relation to as
many with SGD, both in caffe_ext. Target: at most {record["target_ratio"]}.

{_format_ratios(measurements)}

The smallest HC1 adversarials of {search["measurements"][0]["images"]:,} images, in one process:

{_search(search)}

Medians of {record["processes"]} processes of each framework, which took turns; in a process, jobs
in turns, each {record["iterations_at_a_time"]} times before it waits for the GPU. The same random
images for all, which lie in the GPU's memory; no data layer. Warm-up is not counted. "graphs": a
whole iteration as one CUDA graph.

| | |
|---|---|
{format_origin(record)}
| peer | {", ".join([*versions, *missing])}{same} |
| HC1 | {search["model"]["name"]}, `{search["model"]["weights"]}`, on {search["images"]} |
"""


def _format_speeds(measurements: Sequence[Record]) -> str:
    """Return the table of speeds."""
    frameworks = (STOCK, OURS, *PEERS)
    rows = [["a second", *frameworks, "ours / stock", "ours / eager", "ours / graphs"]]
    for measured in measurements:
        for task in TASKS:
            batch = FORWARD_BATCH if task == "forward" else measured["batch"]
            speeds = [compute_speed(measured, task, framework) for framework in frameworks]
            ours = speeds[1]
            assert ours is not None
            others = (speeds[0], speeds[2], speeds[3])
            rows.append(
                [
                    f"{measured['network']} ({batch}), {task}",
                    *("–" if value is None else f"{value:,.0f}" for value in speeds),
                    *("–" if value is None else f"{ours / value:.2f}" for value in others),
                ]
            )
    return format_table(rows)


def _format_ratios(measurements: Sequence[Record]) -> str:
    """Return the table of what BANG costs."""
    rows = [["BANG / SGD", "ratio", "of the processes", "quartiles within pairs"]]
    for measured in measurements:
        pairs = measured["bang"]
        ratios = sorted(pair["ratio"] for pair in pairs)
        quartiles = [median(pair["quartiles"][end] for pair in pairs) for end in (0, 2)]
        rows.append(
            [
                measured["network"],
                f"{median(ratios):.3f}",
                ", ".join(f"{ratio:.3f}" for ratio in ratios),
                " – ".join(f"{value:.3f}" for value in quartiles),
            ]
        )
    return format_table(rows)


def _search(search: Record) -> str:
    """Return the table of HC1."""
    rows = [["HC1 on", "batch", "images a second", "attacked", "found", "processor time in it"]]
    rows += [
        [
            one["device"],
            f"{one['batch_size']}",
            f"{one['images_per_second']:,.0f}",
            f"{one['attacked']:,}",
            f"{one['found']:,}",
            f"{one['network_share']:.0%}",
        ]
        for one in search["measurements"]
    ]
    return format_table(rows)


def draw(measurements: Sequence[Record], path: Path) -> None:
    """Write the speeds as bars, a panel for each network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(measurements), 3.6), layout="constrained")
    panels = figure.subplots(1, len(measurements), squeeze=False)[0]
    for panel, measured in zip(panels, measurements, strict=True):
        for place, (framework, colour) in enumerate(COLOURS.items()):
            for column, task in enumerate(TASKS):
                value = compute_speed(measured, task, framework)
                if value is not None:
                    x = column + 0.17 * (place - 2)
                    label = framework if column == 0 else None
                    panel.bar(x, value, 0.16, color=colour, label=label)
                    panel.annotate(f"{value:,.0f}", (x, value), ha="center", va="bottom", size=6)
        panel.set_title(measured["network"], fontsize=10)
        panel.set_xticks(range(len(TASKS)), ["SGD", "BANG", f"forward\nof {FORWARD_BATCH}"])
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(length=0)
    panels[0].set_ylabel("a second; taller is better")
    figure.legend(*panels[0].get_legend_handles_labels(), ncols=5, loc="outside lower center")
    with replace_file(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix("."), metadata={"Date": None})
