"""The words and tables of bench_search.py, made of its record."""

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]


def format_summary(record: Record) -> str:
    """Return the tables, which read well in a terminal, too."""
    parts = [_format_all_images(record), _format_hc1(record["beside_hc1"])]
    if isinstance(record["foolbox"], Mapping):
        parts.append(_format_fgs(record["foolbox"]["measurements"]))
    return "\n\n".join(parts)


def report(record: Record) -> str:
    """Return bench_search.md."""
    about, blas = record["machine"], record["machine"]["blas"]
    compared = record["beside_hc1"][0]
    return f"""\
# How fast smallest adversarials are found

The smallest HC1 adversarial of each image, by line search and false position, in one process.
Targets: at most {record["target_seconds"]} seconds for 10,000 images on 2 cores, and a ratio of at
least {record["target_ratio"]} beside doubling and bisection image by image.

{_format_all_images(record)}

## Beside HC1

HC1 on the engine with one thread for each core; the others with one BLAS thread. The first images
that are classified correctly; medians of {compared["elapsed"]["pairs"]} runs each.

{_format_hc1(record["beside_hc1"])}

HC1, other: time an image. ratio: other / HC1, of the medians; quartiles: within pairs of
neighbouring runs. by CPU time: the ratio of the processor's time of all threads, which leaves out
what other processes took away. passes: forward passes an image, of HC1 and of the other. same:
images with the same adversarial, bit for bit. (The sums in a network differ in their last bits with
the size of the batch, and so can adversarials.)

Doubling and bisection, t = 1, 2, 4, ... and then the middle of what is left, one image after the
other in pycaffe on Caffe's own layers, is the plain search that the tests compare ours with.

## Beside FGS: Foolbox on PyTorch

{_describe_foolbox(record["foolbox"])}

| | |
|---|---|
| command | `{record["command"]}` |
| date | {record["date"]} |
| version | {record["version"]}, commit {record["commit"]} |
| model | {record["model"]["name"]}, `{record["model"]["weights"]}` |
| images | {record["images"]} |
| processor | {about["cpu"]}, {about["cores"]} cores, {about["memory_gib"]} GiB of memory |
| load before | {record["load_average"]:.1f} processes |
| system | {about["system"]} |
| BLAS | {blas["name"]} {blas["version"]} ({blas["core"]} kernels) |
"""


def _format_all_images(record: Record) -> str:
    """Return the figures of the search of all images."""
    found, memory = record["all"], record["all"]["peak_memory_mib"]
    seconds, processor = found["seconds"], found["processor_seconds"]
    return format_table(
        [
            ["HC1", f"{found['images']:,} images, {found['attacked']:,} attacked"],
            ["images a second", f"{found['images_per_second']:.0f}"],
            ["seconds for 10,000 images", f"{found['seconds_for_10000_images']:.1f}"],
            ["seconds for these", f"{seconds['search']:.1f} (processor {processor['search']:.1f})"],
            ["forward passes an image", f"{found['forwards_per_attacked_image']:.1f}"],
            ["processor time in the network", f"{100 * found['network_share']:.1f}%"],
            [
                "PASS and distances, seconds",
                f"{seconds['scores']:.1f} (processor {processor['scores']:.1f})",
            ],
            ["peak memory", f"{memory['after']:.0f} MiB ({memory['before']:.0f} MiB before)"],
        ]
    )


def _format_hc1(rows: Sequence[Record]) -> str:
    """Return the table of what ran beside HC1."""
    heads = ["HC1 beside", "images", "HC1", "other", "ratio", "quartiles", "by CPU time"]
    body = []
    for row in rows:
        passes = " to ".join(f"{count:.1f}" for count in row["forwards_per_image"])
        same = f"{100 * row['same_adversarial']:.0f}%"
        body.append([row["name"], f"{row['images']}", *_format_times(row), passes, same])
    return format_table([[*heads, "passes", "same"], *body])


def _format_fgs(rows: Sequence[Record]) -> str:
    """Return the table of what ran beside FGS."""
    heads = ["FGS beside", "FGS", "other", "ratio", "quartiles", "by CPU time"]
    body = []
    for row in rows:
        nothing = row["mean_amplitude"] is None
        body.append(
            [
                row["name"],
                *_format_times(row),
                f"{100 * row['found']:.0f}%",
                "–" if nothing else f"{row['mean_amplitude']:.2f}",
                "–" if nothing else f"{100 * row['still_adversarial']:.0f}%",
            ]
        )
    return format_table([[*heads, "found", "mean Linf", "as uint8"], *body])


def _format_times(row: Record) -> list[str]:
    """Return milliseconds an image, and the ratios."""
    elapsed, count = row["elapsed"], row["images"]
    lower, _, upper = elapsed["quartiles"]
    return [
        f"{elapsed['first_ms'] / count:.2f} ms",
        f"{elapsed['second_ms'] / count:.2f} ms",
        f"{elapsed['ratio']:.2f}",
        f"{lower:.2f} – {upper:.2f}",
        f"{row['process']['ratio']:.2f}",
    ]


def _describe_foolbox(found: Any) -> str:
    """Return the section about Foolbox."""
    if isinstance(found, str):
        return f"Left out: {found}."
    count = found["measurements"][0]["images"]
    return f"""\
Foolbox {found["foolbox"]} on PyTorch {found["torch"]}, CPU, one thread, with the same LeNet:
the logits differ by {found["largest_logit_difference"]:.0e} at most. {count} of these images.

Foolbox's fast gradient attack (FGSM) has no search of its own: it tries the epsilons that it is
given, here 1 to 255 grey levels, all at once or, by a loop around it, one after the other, where
solved images leave. DeepFool and FMN take a new gradient at each step, where FGS and the margin go
along one: they get nearer, and take longer.

{_format_fgs(found["measurements"])}

mean Linf: in grey levels, of what was found. as uint8: how much of it the Caffe model misclassifies
after it was rounded to whole grey levels, as an image file has them."""


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows, the first of them the heads, as a table in Markdown that reads well as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in rows
    ]
    rule = "| " + " | ".join(["-" * widths[0], *("-" * (n - 1) + ":" for n in widths[1:])]) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])
