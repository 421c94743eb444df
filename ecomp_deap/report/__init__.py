"""A report shows what a run, or a set of runs, has found: plots of the front of children and of
the generations, and comparisons of runs with others. It reads the plain rows of front.csv and
logbook.csv, writes PNG files, and leaves no trace in matplotlib's global state.
"""

from ecomp_deap.report.comparison import plot_boxes, plot_fronts, plot_trajectories
from ecomp_deap.report.plots import plot_front, plot_history, write_plots
from ecomp_deap.report.run import plot_run

__all__ = [
    "plot_boxes",
    "plot_front",
    "plot_fronts",
    "plot_history",
    "plot_run",
    "plot_trajectories",
    "write_plots",
]
