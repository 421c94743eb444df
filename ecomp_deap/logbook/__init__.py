"""A logbook is DEAP's record of a run: one record per generation, with chapters of statistics.

`statistics` fills it, `logbook_to_rows` flattens it into plain rows, `export_logbook` and
`read_logbook` carry those rows to a file and back without losing a bit. All are functions over
DEAP's own ``Logbook``: a subclass of it cannot delete records, and ``json.dumps`` forgets chapters.
"""

from ecomp_deap.logbook.files import export_logbook, read_logbook
from ecomp_deap.logbook.rows import logbook_to_rows
from ecomp_deap.logbook.statistics import statistics, statistics_of

__all__ = ["export_logbook", "logbook_to_rows", "read_logbook", "statistics", "statistics_of"]
