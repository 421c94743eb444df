"""The colours of the page."""

import re
from pathlib import Path

import pytest

from ecomp_deap import report
from ecomp_deap.report import _charts as charts
from ecomp_deap.report import write_report
from tests.report.made_runs import make_run

CSS = (Path(report.__file__).parent / "page.css").read_text(encoding="utf-8")


def test_the_style_loads_nothing():
    assert not re.search(r"url\(|@import|@font-face", CSS)


def luminance(color):
    found = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in found]
    return sum(v * weight for v, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def schemes():
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block))
        for block in re.findall(r":root \{(.*?)\}", CSS, flags=re.DOTALL)[:2]
    )
    return {"light": light, "dark": {**light, **dark}}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["ground", "raised"])
def test_texts_and_marks_can_be_told_from_the_ground(scheme, ground):
    colors = schemes()[scheme]
    for text in ("ink", "soft", "link", "pick-ink"):
        assert contrast(colors[text], colors[ground]) >= 4.5, text
    for mark in ("blue", "pick", "grey"):
        assert contrast(colors[mark], colors[ground]) >= 3, mark
    for color in charts.CLASSES:  # texts, but their colours are not needed
        assert contrast(color, colors[ground]) >= 3, color
    assert contrast(colors["blue"], colors["line"]) >= 2.5  # what stays of a layer, in its bar


def test_figures_have_the_colours_of_their_legend(tmp_path):
    text = write_report([make_run(tmp_path)]).read_text()
    for color in ("blue", "pick", "grey"):
        assert text.count(schemes()["light"][color].upper()) > 0, color
