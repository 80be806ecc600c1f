"""The page of a sweep: what is in it, and in a real browser, what a click does.

With CAFFE_EXT_SCREENSHOTS=DIR, it writes pictures of the page.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bokeh", reason="Bokeh is not installed: the extra `sweep`")

from browser import CHROMIUM, Browser, BrowserPage
from caffe_ext.sweeps.maps import make_maps
from caffe_ext.sweeps.means import average_rows
from caffe_ext.sweeps.page import make_page

TITLES = {
    "accuracy": "accuracy",
    "fgs.strict.rate": "FGS: rate",
    "hc1.pass_published": "HC1: PASS",
    "hc1.linf": "HC1: Linf",
    "hc2.linf": "HC2: Linf",
}
CHOSEN = ["accuracy", "fgs.strict.rate", "hc1.pass_published"]
AXES: dict[str, list[Any]] = {"beta": [1.0, 1.2], "epsilon": [0.7, 0.8, 0.9], "random_seed": [1, 2]}
WIDTHS = {"desk": 1280, "phone": 360}


def make_rows() -> list[dict[str, Any]]:
    """All settings with two seeds but for one that failed: HC2 finds nothing, PASS is constant."""
    row: dict[str, Any] = {"state": "done", "hc1.pass_published": 0.5, "hc2.linf": None}
    rows = [
        row
        | {"baseline": True, "beta": None, "epsilon": None, "random_seed": seed}
        | {"accuracy": 0.75, "fgs.strict.rate": 1.0, "hc1.linf": 7.0}
        for seed in (1, 2)
    ]
    for beta in AXES["beta"]:
        for epsilon in AXES["epsilon"]:
            for seed in (1, 2):
                share = 0.1 * seed + (0.5 if beta == 1.0 else 0.6)
                rows.append(
                    row
                    | {"baseline": False, "beta": beta, "epsilon": epsilon, "random_seed": seed}
                    | {"accuracy": share, "fgs.strict.rate": epsilon, "hc1.linf": 100 * beta}
                )
    failed = {"accuracy", "fgs.strict.rate", "hc1.pass_published", "hc1.linf"}
    for row in rows[-2:]:
        row |= {"state": "failed", **dict.fromkeys(failed)}
    return rows


def write_page(axes: dict[str, list[Any]], rows: list[dict[str, Any]]) -> str:
    maps = make_maps(rows, axes, {name: TITLES[name] for name in [*CHOSEN, "hc2.linf"]})
    return make_page(
        "beta & <epsilon>", average_rows(rows, axes, list(TITLES)), maps, TITLES, CHOSEN
    )


def read_source(page: str) -> dict[str, Any]:
    """Return the columns that the pictures and the table share."""
    (text,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    found: dict[str, Any] = {}

    def visit(one: Any) -> None:
        if isinstance(one, dict):
            entries = one.get("entries", []) if one.get("type") == "map" else []
            if any(key == "setting" for key, _ in entries):
                found.update(entries)
            for value in one.values():
                visit(value)
        elif isinstance(one, list):
            for value in one:
                visit(value)

    visit(json.loads(text))
    return found


def test_the_page_has_the_means_of_all_settings() -> None:
    page = write_page(AXES, make_rows())
    assert "<h1>beta &amp; &lt;epsilon&gt;</h1>" in page
    assert "12 points finished" in page
    source = read_source(page)
    assert source["setting"][:3] == ["baseline", "1.0, 0.7", "1.0, 0.8"]
    assert source["points"] == [2, 2, 2, 2, 2, 2, 0]
    assert source["accuracy"][:6] == pytest.approx([75, 65, 65, 65, 75, 75])
    assert source["text accuracy"][1] == "65.00 ± 7.07%"
    assert source["text accuracy"][6] == "–"
    assert source["hc1.pass_published"][:6] == [0.5] * 6
    assert source["across"][1:] == [0, 1, 2, 0, 1, 2]
    assert source["down"][1:] == [0, 0, 0, 1, 1, 1]
    assert "hc2.linf" not in source


def test_it_loads_nothing_from_the_network() -> None:
    page = write_page(AXES, make_rows())
    assert not re.search(r'<(script|link|img)[^>]*(src|href)="http', page)


def test_a_sweep_over_seeds_alone_has_no_maps() -> None:
    rows = [
        {"baseline": False, "state": "done", "random_seed": one, "accuracy": 0.5} for one in (1, 2)
    ]
    source = read_source(write_page({"random_seed": [1, 2]}, rows))
    assert source["setting"] == ["all"]
    assert "across" not in source


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
@pytest.mark.parametrize("kind", WIDTHS)
def test_a_click_marks_a_setting_everywhere(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.html"
    path.write_text(write_page(AXES, make_rows()))
    with Browser(tmp_path / "profile") as browser:
        page = browser.open_page(WIDTHS[kind], 2000)
        page.call("Page.enable")
        page.call("Page.navigate", url=path.as_uri())
        page.wait_until("window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle")
        assert page.evaluate("document.documentElement.scrollWidth") == WIDTHS[kind]
        assert count_maps(page) == 3
        # The first field of the first map, at the lower left.
        find = "const map = Bokeh.documents[0].roots().find((one) => one.name === 'map');"
        place = page.evaluate(
            f"(() => {{ {find} const view = Bokeh.index.get_by_id(map.id);"
            "const frame = view.frame.bbox, box = view.el.getBoundingClientRect();"
            "return [box.left + frame.left + 8, box.top + frame.bottom - 8]; })()"
        )
        for event in ("mousePressed", "mouseReleased"):
            page.call(
                "Input.dispatchMouseEvent",
                type=event,
                x=place[0],
                y=place[1],
                button="left",
                clickCount=1,
            )
        chosen = (
            "Bokeh.documents[0].roots().filter((one) => ['map', 'scatter'].includes(one.name))"
            ".map((one) => one.renderers[0].data_source.selected.indices[0])"
        )
        page.wait_until(chosen, lambda found: found == [1, 1, 1, 1])
        # Another figure across.
        page.evaluate(
            "Bokeh.documents[0].roots().find((one) => one.name === 'choice').value = 'hc1.linf'"
        )
        scatter = "Bokeh.documents[0].roots().find((one) => one.name === 'scatter')"
        page.wait_until(f"{scatter}.below[0].axis_label", lambda found: found == "HC1: Linf")
        page.wait_until(f"{scatter}.x_range.end > 119")
        for glyph in ("glyph", "selection_glyph", "nonselection_glyph"):
            assert page.evaluate(f"{scatter}.renderers[0].{glyph}.x.field") == "hc1.linf"
        if folder := os.environ.get("CAFFE_EXT_SCREENSHOTS"):
            page.take_screenshot(Path(folder) / f"sweep_{kind}.png")


def count_maps(page: BrowserPage) -> int:
    return int(
        page.evaluate("Bokeh.documents[0].roots().filter((one) => one.name === 'map').length")
    )
