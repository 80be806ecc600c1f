"""The style of a report's plots, and their conversion to SVG inside its page.

A plot is a legend and small panels, each a separate SVG: the page sets them side by side as its
width allows, so that they stay legible on a phone and on paper. Titles and legends are text of the
page.

Lines, text and grids are drawn in INK and GRID, which render_svg() replaces by the page's own
colours, so that a plot can be read on light and on dark pages, and on paper.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Literal

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GRID = "#1a2b3c", "#1a2b3d"
BAND = "#8a8a8a"
COLOURS = (
    "#3d85c6",
    "#e07b39",
    "#3a9d6e",
    "#b45fae",
    "#c79a1e",
    "#d0515d",
    "#4aa5b5",
    "#8a8a8a",
)
DASHES = ("", "5 2", "1.5 1.5", "6 2 1.5 2")
"""Dashes of lines, as SVG's stroke-dasharray, for each round of COLOURS."""
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a name with two "$" is not a formula
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Key:
    """An entry of a legend, and how its lines are drawn."""

    name: str
    colour: str
    dash: str

    @property
    def line(self) -> dict[str, Any]:
        """Return the arguments for Matplotlib's lines."""
        pattern = tuple(float(part) for part in self.dash.split())
        return {"color": self.colour, "linestyle": (0, pattern) if pattern else "solid"}


@dataclass(frozen=True, eq=False)
class Panel:
    """One panel: a figure with one pair of axes, and its title, or ""."""

    title: str
    figure: Figure

    @property
    def axes(self) -> Axes:
        """Return its axes."""
        return self.figure.axes[0]


@dataclass(frozen=True, eq=False)
class Plot:
    """Panels that belong together; legend: empty if the panels are labelled."""

    panels: Sequence[Panel]
    legend: Sequence[Key] = ()


@dataclass(frozen=True)
class DrawnPanel:
    """A panel for the page."""

    title: str
    svg: Markup


@dataclass(frozen=True)
class DrawnPlot:
    """A plot for the page."""

    panels: Sequence[DrawnPanel]
    legend: Sequence[Key]


def make_keys(names: Sequence[str]) -> list[Key]:
    """Return a colour for each name, with other dashes when the colours repeat."""
    count = len(COLOURS)
    return [
        Key(name, COLOURS[place % count], DASHES[place // count % len(DASHES)])
        for place, name in enumerate(names)
    ]


def use_style() -> Any:
    """Return a context that creates figures in the report's style."""
    return mpl.rc_context(_STYLE)


def create_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of this size in inches with one pair of axes; call it within use_style()."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def decorate_axes(axes: Axes, lines: Literal["both", "y"] = "both") -> None:
    """Draw pale lines behind a plot on white, and no frame above it and to its right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=lines, color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)


def draw_for_page(plot: Plot, name: str) -> DrawnPlot:
    """Return a plot for the page; name: of the plot, unique in the page."""
    return DrawnPlot(
        [
            DrawnPanel(panel.title, Markup(render_svg(panel.figure, f"{name}-{number}")))
            for number, panel in enumerate(plot.panels)
        ],
        plot.legend,
    )


def render_svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG to put into an HTML page.

    name  of the figure: prefix of each id, since a page's ids must be unique
    """
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        # The text is drawn by the browser, whose fonts have more than Matplotlib's.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        stream = StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # HTML knows the namespaces; without them the page names no address at all.
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    # Hundredths of a point are fine enough, and halve the size of the page.
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    # The page sets its width.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace(INK, "var(--ink)").replace(GRID, "var(--rule)")
