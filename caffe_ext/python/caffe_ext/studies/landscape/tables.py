"""The study's results as a table for the console, CSV and JSON files, and figures.

landscape.json         all numbers, the settings, and where they come from
minima.csv             a line for each minimum
transition_states.csv  a line for each transition state
widths.csv             a line for each minimum whose exact widths were found
sensitivity.png        Figure 5: the sensitivity over the energy
overestimate.png       Figure 4: by how much the dual bound exceeds the exact sensitivity
tree.png               the disconnectivity graph
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.reporting import format_csv, format_table, pluralize
from caffe_ext.storage.atomic import write_json, write_text
from caffe_ext.storage.figure_file import save_figure
from caffe_ext.storage.provenance import collect_provenance
from caffe_ext.studies.landscape.correlation import Correlation, Correlations, correlate
from caffe_ext.studies.landscape.figures import (
    draw_overestimates,
    draw_sensitivity,
    draw_tree,
)
from caffe_ext.studies.landscape.samples import load_iris_samples
from caffe_ext.studies.landscape.stationary import StationaryPoint
from caffe_ext.studies.landscape.study import LandscapeResult, Sensitivity, describe_settings

_NONE = "–"


def format_console(result: LandscapeResult) -> str:
    """Return what was found, in some lines and two tables."""
    minima = result.minima
    kinks = sum(it.kind == "kink" for it in minima)
    descents = pluralize(result.hops, "descent")
    lines = [
        f"{descents}: {len(minima):,} distinct minima, {kinks:,} at kinks; "
        f"{result.unconverged:,} not converged, {result.uncertain:,} without all signs of a "
        "minimum",
    ]
    if minima:
        energies = [it.point.energy for it in minima]
        residual = max(it.point.residual for it in minima)
        lines.append(
            f"energies {min(energies):.6f} to {max(energies):.6f}; largest residual {residual:.1e}"
        )
    if result.pairs:
        states = pluralize(len(result.states), "transition state")
        peaks = pluralize(result.tried, "peak")
        lines.append(f"{pluralize(result.pairs, 'path')}: {states} from {peaks}")
    if minima:
        lines += ["", format_table(_list_sensitivities(result.sensitivities))]
    if result.overestimates:
        lines += ["", format_table(_list_overestimates(result))]
    return "\n".join(lines)


def save_results(folder: Path, result: LandscapeResult) -> None:
    """Write the files; remove the figures of an earlier study that this one has none of."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = len(load_iris_samples().inputs)
    write_text(folder / "minima.csv", _format_minima(result))
    write_text(folder / "transition_states.csv", _format_states(result))
    write_text(folder / "widths.csv", _format_widths(result))
    write_json(folder / "landscape.json", _make_record(result))
    sensitivity = draw_sensitivity(result, samples) if result.minima else None
    save_figure(sensitivity, folder / "sensitivity.png")
    save_figure(draw_tree(result) if result.edges else None, folder / "tree.png")
    overestimates = draw_overestimates(result) if result.overestimates else None
    save_figure(overestimates, folder / "overestimate.png")


def _list_sensitivities(found: Sequence[Sensitivity]) -> list[list[str]]:
    head = ["sigma", "samples", "median S", "smallest", "largest", "Pearson, log S", "Spearman"]
    samples = load_iris_samples()
    rows = [head]
    for it in found:
        for count, values, correlations in (
            (len(samples.few), it.few, it.few_correlations),
            (len(samples.inputs), it.all, it.all_correlations),
        ):
            cells = (f"{size:.4g}" for size in (np.median(values), values.min(), values.max()))
            both = (
                (_NONE, _NONE)
                if correlations is None
                else (_format(correlations.pearson), _format(correlations.spearman))
            )
            rows.append([f"{it.sigma:g}", f"{count}", *cells, *both])
    return rows


def _list_overestimates(result: LandscapeResult) -> list[list[str]]:
    found = result.overestimates
    relative = np.array([it.relative for it in found])
    head = ["exact by", "sigma", "minima", "boxes", "dual over exact", "from", "to"]
    boxes = sum(it.samples for it in found)
    sizes = (f"{100 * it:.1f}%" for it in (np.median(relative), relative.min(), relative.max()))
    settings = result.settings
    row = [settings.method, f"{settings.exact_sigma:g}", f"{len(found)}", f"{boxes}", *sizes]
    for name, both in correlate_exact(result).items():
        head.append(f"Spearman, {name}")
        row.append(_NONE if both is None else _format(both.spearman))
    return [head, row]


def correlate_exact(result: LandscapeResult) -> dict[str, Correlations | None]:
    """Return the correlations of energy with S by both bounds, of minima with exact widths."""
    found = result.overestimates
    energies = np.array([result.minima[it.number].point.energy for it in found])
    return {
        "dual S": correlate(energies, np.array([it.dual for it in found])),
        "exact S": correlate(energies, np.array([it.exact for it in found])),
    }


def _format(found: Correlation) -> str:
    return f"{found.coefficient:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def _format_minima(result: LandscapeResult) -> str:
    few, every = len(load_iris_samples().few), len(load_iris_samples().inputs)
    names = [f"S_{it.sigma:g}_{count}" for it in result.sensitivities for count in (few, every)]
    head = ["minimum", "visits", "kind", *_POINT_HEAD, "errors", *names]
    rows: list[list[Any]] = [head]
    for minimum, errors in zip(result.minima, result.errors, strict=True):
        sizes = [
            f"{values[minimum.number]:.6g}"
            for it in result.sensitivities
            for values in (it.few, it.all)
        ]
        about = [minimum.number, minimum.visits, minimum.kind]
        rows.append([*about, *_list_point(minimum.point), errors, *sizes])
    return format_csv(rows)


_POINT_HEAD = [
    *("energy", "hidden", "kinks", "falling_kinks", "kink_rank", "residual"),
    *("negative", "zero", "positive", "lowest_eigenvalue", "pull"),
]


def _list_point(point: StationaryPoint) -> list[Any]:
    return [
        f"{point.energy:.12f}",
        "-".join(str(width) for width in point.widths[1:-1]),
        *(len(point.kinks), len(point.falling), point.rank),
        f"{point.residual:.1e}",
        *point.signs,
        f"{point.lowest:.3e}",
        f"{point.pull:.9f}",
    ]


def _format_states(result: LandscapeResult) -> str:
    rows: list[list[Any]] = [["index", *_POINT_HEAD, "below_one", "below_other"]]
    for state, below in sorted(result.states, key=lambda it: it[0].point.energy):
        numbers = ["" if it is None else it for it in below]
        rows.append([state.point.index, *_list_point(state.point), *numbers])
    return format_csv(rows)


def _format_widths(result: LandscapeResult) -> str:
    head = ["minimum", "boxes", "S_dual", "S_exact", "S_reached", "relative"]
    rows: list[list[Any]] = [head]
    for it in result.overestimates:
        sizes = (f"{size:.8g}" for size in (it.dual, it.exact, it.reached))
        rows.append([it.number, it.samples, *sizes, f"{it.relative:.6g}"])
    return format_csv(rows)


def _make_record(result: LandscapeResult) -> dict[str, Any]:
    return asdict(collect_provenance()) | {
        "settings": describe_settings(result.settings),
        "hops": result.hops,
        "not_converged": result.unconverged,
        "without_all_signs": result.uncertain,
        "minima": len(result.minima),
        "kink_minima": sum(it.kind == "kink" for it in result.minima),
        "paths": result.pairs,
        "peaks_tried": result.tried,
        "transition_states": len(result.states),
        "sensitivity": [
            {
                "sigma": it.sigma,
                "few": None if it.few_correlations is None else asdict(it.few_correlations),
                "all": None if it.all_correlations is None else asdict(it.all_correlations),
            }
            for it in result.sensitivities
        ],
        "connections": [asdict(it) for it in result.edges],
        "overestimates": [asdict(it) for it in result.overestimates],
        "exact": {
            name: None if both is None else asdict(both)
            for name, both in correlate_exact(result).items()
        },
    }
