"""Bars: alternatives or phases side by side, as a PNG."""

from collections.abc import Callable, Mapping
from pathlib import Path

from _bench import seconds_text
from matplotlib.ticker import FuncFormatter

from ecomp_deap.report import _figure as fig


def plot_bars(
    panels: Mapping[str, Mapping[str, float]],
    path: Path,
    *,
    title: str,
    xlabel: str,
    marks: Mapping[str, Mapping[str, float]] | None = None,
    mark_label: str = "",
    text: Callable[[float], str] = seconds_text,
) -> None:
    """Draw horizontal bars of seconds in panels side by side, each with its value behind it.

    Args:
        panels: For each panel its bars by name, from the top down.
        path: Ends in .png.
        title: Of the figure.
        xlabel: Of every x axis.
        marks: For each panel what is marked by a tick on a bar, by the bar's name.
        mark_label: What the ticks are.
        text: The text of a value.
    """
    rows = max(len(bars) for bars in panels.values())
    figure = fig.new_figure(width=max(8.0, 2.5 + 3.6 * len(panels)), height=1.6 + 0.42 * rows)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    named: list[str] = []
    for axes, (panel, bars) in zip(grid, panels.items(), strict=True):
        fig.dress(axes)
        axes.grid(False, axis="y")
        names = list(bars)
        places = range(len(names))
        drawn = axes.barh(places, list(bars.values()), color=fig.BLUE, height=0.7)
        axes.bar_label(
            drawn, [text(v) for v in bars.values()], padding=4, fontsize=fig.TICK_SIZE - 1
        )
        own = (marks or {}).get(panel, {})
        marked = [i for i, name in enumerate(names) if name in own]
        if marked:
            axes.plot(
                [own[names[i]] for i in marked],
                marked,
                "|",
                color=fig.VERMILION,
                markersize=15,
                markeredgewidth=2.5,
                label=mark_label,
            )
        # Bars of the same names are named once.
        axes.set_yticks(places, names if names != named else [""] * len(names))
        named = names
        axes.invert_yaxis()
        axes.set_xlim(0, 1.3 * max(bars.values()))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: text(x) if x else "0"))
        axes.xaxis.get_major_locator().set_params(nbins=5)
        axes.set_title(panel, fontsize=fig.LABEL_SIZE, color=fig.INK)
        fig.label(axes, xlabel, None)
    if marks:
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", frameon=False, fontsize=fig.TICK_SIZE
        )
    figure.suptitle(title, fontsize=fig.TITLE_SIZE, color=fig.INK)
    fig.save_figure(figure, path)
