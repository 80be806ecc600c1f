"""run_sweep(): compute what is left of a sweep on a cluster, and write its table and maps."""

# Dask is imported late: it is optional.
# ruff: noqa: PLC0415

import importlib.util
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from caffe_ext.errors import RecordError
from caffe_ext.evaluation.report import as_csv
from caffe_ext.reporting import Reporter, SilentReporter, format_duration, pluralize, suggest
from caffe_ext.runs.output_folder import check_entries, check_writable, claim_output
from caffe_ext.runtime.checkout import shorten_path
from caffe_ext.runtime.processor_time import count_cores
from caffe_ext.storage.atomic import write_json, write_text
from caffe_ext.storage.figure_file import save_png_and_svg
from caffe_ext.storage.json_file import read_json
from caffe_ext.storage.provenance import collect_provenance
from caffe_ext.sweeps.choices import CHOSEN, SEED, VARIANT
from caffe_ext.sweeps.data import find_data_home
from caffe_ext.sweeps.description import SweepPoint
from caffe_ext.sweeps.file import SweepFile
from caffe_ext.sweeps.maps import draw_maps, draw_surfaces, find_map_axes, make_maps
from caffe_ext.sweeps.means import (
    Repetitions,
    average_rows,
    format_markdown,
    list_mean_rows,
    make_cells,
)
from caffe_ext.sweeps.means_figure import MOST_SETTINGS, draw_means
from caffe_ext.sweeps.page import make_page
from caffe_ext.sweeps.progress import Observer, SilentObserver, SweepProgress
from caffe_ext.sweeps.reuse import list_sources
from caffe_ext.sweeps.store import FAILED, POINTS
from caffe_ext.sweeps.sweep import DATA_FOLDER, SCRATCH, Sweep, SweepPlan, SweepState
from caffe_ext.sweeps.table import (
    Row,
    choose_figures,
    describe_commits,
    is_share,
    list_figures,
    make_rows,
    name_devices,
    sum_seconds,
)

RESULTS, MAPS, SURFACES, MEANS = "sweep", "maps", "surfaces", "means"
_ALWAYS = (f"{RESULTS}.csv", f"{RESULTS}.json")
_SOMETIMES = (
    f"{RESULTS}.html",
    *(f"{name}{suffix}" for name in (MAPS, SURFACES, MEANS) for suffix in (".png", ".svg")),
    *(f"{MEANS}{suffix}" for suffix in (".csv", ".md")),
)
"""Files that not every sweep has."""
MISSING = "a sweep needs Dask and Bokeh: `pip install caffe_ext[sweep]` brings them"


@dataclass(frozen=True)
class _SavedTable:
    """What of sweep.json is read again."""

    sweep: str


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is computed: it can be continued with other options.

    scheduler   address of a Dask scheduler; None: a cluster on this machine
    workers     of the cluster on this machine; None: one for each core, or each GPU
    gpus        how many GPUs this machine has, to compute on GPUs; None: on CPUs, which round
                otherwise, so that figures can differ
    time_limit  of a point, in seconds, after which it counts as failed; None: none
    retry       compute failed points again
    """

    scheduler: str | None = None
    workers: int | None = None
    gpus: int | None = None
    time_limit: float | None = None
    retry: bool = False


@dataclass(frozen=True)
class SweepResult:
    """What a sweep has given.

    rows      of the table: see make_rows()
    failed    how many points have failed
    computed  how many points were computed by this run
    files     what was written
    means     the table of means over seeds, its head first; empty if it has none
    """

    rows: list[Row]
    failed: int
    computed: int
    files: tuple[Path, ...]
    means: Sequence[Sequence[str]] = ()


def run_sweep(
    sweep: Sweep,
    options: SweepOptions | None = None,
    reporter: Reporter | None = None,
    observer: Observer | None = None,
) -> SweepResult:
    """Compute every point that is not done yet, and write the results.

    Raises ValueError, DataError, RecordError and OSError as Sweep.plan() does, ImportError if Dask
    or Bokeh is missing, ClusterError if the cluster cannot be used, and KeyboardInterrupt with a
    sentence. Whatever ends it, the same call again continues.
    """
    options, reporter = options or SweepOptions(), reporter or SilentReporter()
    check_writable(sweep.folder)
    check_entries(sweep.folder, (POINTS, FAILED, DATA_FOLDER, SCRATCH), (*_ALWAYS, *_SOMETIMES))
    if any(importlib.util.find_spec(name) is None for name in ("distributed", "bokeh")):
        raise ModuleNotFoundError(MISSING)
    if options.scheduler is not None:
        from caffe_ext.sweeps.cluster import check_address

        check_address(options.scheduler)
    run = _Run(sweep, options, reporter, observer)
    with claim_output(sweep.folder):
        check_same_sweep(sweep)
        sweep.store.remove_partial()
        plan = sweep.plan(reporter)
        figures = check_figures(sweep)
        state = sweep.read(plan.points)
        warn_of_useless_tables(sweep, plan, reporter)
        asked = [one for one in plan.distinct if not state.is_done(one)]
        if not options.retry:
            asked = [one for one in asked if one.digest not in state.failed]
        reporter.note(describe_plan(plan, state, len(asked), options))
        computed = 0
        if asked:
            try:
                computed = run.compute(plan, state, asked)
            except BaseException:
                # Whatever it is, Ctrl-C or a cluster that is lost; the disk may be full, too.
                with suppress(OSError):
                    state = sweep.read(plan.points)
                    if state.finished:
                        run.write(plan, state, figures)
                raise
            state = sweep.read(plan.points)
        rows, files, means = run.write(plan, state, figures)
    if note := describe_commits(rows):
        reporter.note(note)
    return SweepResult(rows, len(state.failed), computed, tuple(files), means)


def check_same_sweep(sweep: Sweep) -> None:
    """Raise RecordError if the folder has the table of a sweep of another name."""
    path = sweep.folder / f"{RESULTS}.json"
    if not path.exists():
        return
    advice = "choose another --output, or remove it"
    found = read_json(path, _SavedTable, advice).sweep
    if found != sweep.file.name:
        raise RecordError(f"{shorten_path(path)} is of the sweep {found!a}: {advice}")


def warn_of_useless_tables(sweep: Sweep, plan: SweepPlan, reporter: Reporter) -> None:
    """Warn of tables whose finished points are all other trainings, or otherwise measured."""
    for table in sweep.reuse:
        if not any(point.digest in table.rows for point in plan.points):
            reporter.warn(f"{table.name} has no finished point of this sweep")


def describe_plan(plan: SweepPlan, state: SweepState, left: int, options: SweepOptions) -> str:
    """Describe how many points there are, and how long the rest takes."""
    count = len(plan.distinct)
    parts = [pluralize(count, "point")]
    if state.finished:
        theirs = f" ({len(state.reused):,} in other tables)" if state.reused else ""
        parts.append(f"{state.finished:,} done{theirs}")
    if state.failed:
        again = "" if options.retry else " (--retry computes them again)"
        parts.append(f"{len(state.failed):,} failed{again}")
    if not left:
        return ", ".join([*parts, "nothing left to compute"])
    seconds = estimate_seconds(plan, state)
    each = f"{format_duration(seconds)} each" + ("" if state.finished else " for training alone")
    parts.append(f"{left:,} left, {each}")
    if options.scheduler is None:
        workers = options.workers or options.gpus or count_cores()
        total = format_duration(seconds * math.ceil(left / workers))
        parts[-1] += f": {total} with {pluralize(workers, 'worker')}"
    return ", ".join(parts)


def estimate_seconds(plan: SweepPlan, state: SweepState) -> float:
    """Return the seconds of a point: the mean of those that are done, or a training's."""
    measured = [sum(one.measured["seconds"].values()) for one in state.done.values()]
    measured += [sum_seconds(row) for row in state.reused.values()]
    return sum(measured) / len(measured) if measured else plan.seconds


def check_figures(sweep: Sweep) -> tuple[str, ...] | None:
    """Return the figures that the sweep file wants as maps; None: the usual ones.

    Raises ValueError for one that the evaluation does not have, there or in `published:`, for a
    published share that is none, and for maps without two axes.
    """
    wanted = sweep.file.maps
    known = list(list_figures(sweep.file.evaluation.make_suite()))
    for variant, figures in find_published(sweep.file).items():
        where = f"`published:` of {variant}"
        _check_figures(where, figures, known)
        for figure, value in figures.items():
            if is_share(figure) and not 0 <= value <= 1:
                raise ValueError(f"{where}: {figure} is a share, 0 to 1, not {value:g}")
    if wanted is None:
        return None
    if find_map_axes(_list_axes(sweep)) is None:
        raise ValueError("`maps:` needs exactly two axes, besides random_seed, with several values")
    _check_figures("`maps:`", wanted, known)
    return wanted


def _check_figures(where: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            meant = suggest(name, known)
            raise ValueError(
                f"{where} has the unknown figure {name!r}{f' ({meant})' if meant else ''}; "
                f"figures: {', '.join(known)}"
            )


@dataclass(frozen=True)
class _Run:
    """A sweep, and how it is computed and reported."""

    sweep: Sweep
    options: SweepOptions
    reporter: Reporter
    observer: Observer | None

    def compute(self, plan: SweepPlan, state: SweepState, asked: Sequence[SweepPoint]) -> int:
        """Compute points; return how many were finished."""
        from caffe_ext.sweeps.cluster import ClusterSettings, SweepCluster, check_scratch
        from caffe_ext.sweeps.engine import Engine

        folder, options = self.sweep.folder, self.options
        if options.scheduler is None:
            check_scratch(folder)
        settings = ClusterSettings(
            scratch=folder / SCRATCH,
            data_folder=find_data_home(folder / DATA_FOLDER),
            scheduler=options.scheduler,
            workers=options.workers,
            gpus=options.gpus,
        )
        total, before = len(plan.distinct), state.finished
        progress = SweepProgress(total, before, 0 if options.retry else len(state.failed))
        digests = {name: one.digest for name, one in plan.data.items()}
        try:
            with SweepCluster(settings, digests) as cluster:
                engine = Engine(
                    cluster,
                    self.sweep.store,
                    self.reporter,
                    self.observer or SilentObserver(),
                    time_limit=options.time_limit,
                    expected=estimate_seconds(plan, state),
                )
                engine.run(asked, progress)
            shutil.rmtree(settings.scratch, ignore_errors=True)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped: {progress.done:,} of {pluralize(total, 'point')} are done; run the same "
                "command again to continue"
            ) from None
        return progress.done - before

    def write(
        self, plan: SweepPlan, state: SweepState, figures: Sequence[str] | None
    ) -> tuple[list[Row], list[Path], list[list[str]]]:
        """Write the table, the means and the maps; return the rows, the files, the means as text.

        Removes those of an earlier run that this one has none of, such as maps without two axes.
        """
        file, folder = self.sweep.file, self.sweep.folder
        rows = make_rows(plan.points, state.done, state.failed, state.reused)
        record: dict[str, Any] = asdict(collect_provenance()) | {
            "device": name_devices(rows),  # not this process's
            "sweep": file.name,
            "solver": shorten_path(file.solver),
            "axes": _list_axes(self.sweep),
            "settings": dict(file.settings),
            "evaluation": file.evaluation.to_dict(),
            "data": {name: {"sha256": one.digest} for name, one in plan.data.items()},
            "rows": rows,
        }
        if sources := list_sources(self.sweep.reuse, rows):
            record["reused"] = sources
        files = [folder / name for name in _ALWAYS]
        write_text(files[0], as_csv(rows))
        write_json(files[1], record)
        titles = list_figures(file.evaluation.make_suite())
        # Rows of other tables may have other columns.
        chosen = {name: titles[name] for name in figures or choose_figures(rows) if name in titles}
        maps = make_maps(rows, _list_axes(self.sweep), chosen)
        if maps:
            files += save_png_and_svg(draw_maps(maps), folder / MAPS)
            files += save_png_and_svg(draw_surfaces(maps), folder / SURFACES)
        published = find_published(file)
        found = average_rows(rows, _list_axes(self.sweep), list(titles), published)
        if any(one.count for one in found):
            files.append(folder / f"{RESULTS}.html")
            write_text(files[-1], make_page(file.name, found, maps, titles, list(chosen)))
        means: list[list[str]] = []
        if has_means(self.sweep):
            written, means = self._write_means(found, titles, list(chosen), published)
            files += written
        for path in (folder / name for name in _SOMETIMES):
            if path not in files:
                path.unlink(missing_ok=True)
        return rows, files, means

    def _write_means(
        self,
        found: Sequence[Repetitions],
        titles: Mapping[str, str],
        chosen: Sequence[str],
        published: Mapping[str, Mapping[str, float]],
    ) -> tuple[list[Path], list[list[str]]]:
        """Write the means over seeds as a table and, of few settings, as a picture."""
        file, path = self.sweep.file, self.sweep.folder / MEANS
        figures = [name for name in titles if any(name in one.figures for one in found)]
        write_text(path.with_suffix(".csv"), as_csv(list_mean_rows(found, figures)))
        wanted = {*chosen, *(name for each in published.values() for name in each)}
        shown = [name for name in figures if name in wanted]
        if not shown:  # nothing is finished
            return [path.with_suffix(".csv")], []
        cells = make_cells(found, shown)
        write_text(path.with_suffix(".md"), format_markdown(file.name, cells, titles))
        files = [path.with_suffix(suffix) for suffix in (".csv", ".md")]
        if len(found) <= MOST_SETTINGS:
            files += save_png_and_svg(
                draw_means(found, {name: titles[name] for name in shown}), path
            )
        return files, cells


def has_means(sweep: Sweep) -> bool:
    """Tell whether there are seeds to average over, or variants to compare."""
    return any(
        axis.name == VARIANT or (axis.name == SEED and len(axis.values) > 1)
        for axis in sweep.file.axes
    )


def find_published(file: SweepFile) -> dict[str, Mapping[str, float]]:
    """Return the published figures of the variants, by their names."""
    return {
        one.name: one.published for axis in file.axes if axis.name == VARIANT for one in axis.values
    }


def _list_axes(sweep: Sweep) -> dict[str, list[Any]]:
    """Return the axes' values as they are in the rows, by name."""
    return {
        axis.name: [f"{one}" if axis.name in CHOSEN else one for one in axis.values]
        for axis in sweep.file.axes
    }
