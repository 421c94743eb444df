"""A report shows what a run, or a set of runs, has found: plots of the front of children and of
the generations, comparisons of runs with others, and a page with all of it. It reads the plain rows
of front.csv and logbook.csv, writes PNG, SVG and HTML files, and leaves no trace in matplotlib's
global state.
"""

from ecomp_deap.report.attainment import attainment_surface, plot_attainment
from ecomp_deap.report.compared import compared, compared_text
from ecomp_deap.report.comparison import plot_boxes, plot_fronts, plot_trajectories
from ecomp_deap.report.details import child_details, child_text, run_details, run_text
from ecomp_deap.report.figures import write_figures
from ecomp_deap.report.listing import listing, listing_text
from ecomp_deap.report.page import write_report
from ecomp_deap.report.plots import plot_front, plot_history, write_plots
from ecomp_deap.report.run import draw_all, draw_front, plot_baselines, plot_run
from ecomp_deap.report.table import run_table

__all__ = [
    "attainment_surface",
    "child_details",
    "child_text",
    "compared",
    "compared_text",
    "draw_all",
    "draw_front",
    "listing",
    "listing_text",
    "plot_attainment",
    "plot_baselines",
    "plot_boxes",
    "plot_front",
    "plot_fronts",
    "plot_history",
    "plot_run",
    "plot_trajectories",
    "run_details",
    "run_table",
    "run_text",
    "write_figures",
    "write_plots",
    "write_report",
]
