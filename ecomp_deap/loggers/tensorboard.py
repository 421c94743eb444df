"""`TensorBoardLogger`: scalars, hyper-parameters and the front for TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from matplotlib.image import imread

from ecomp_deap.checks import check_path, installed
from ecomp_deap.files import make_folder
from ecomp_deap.loggers.found import cell, found_table
from ecomp_deap.loggers.logger import Logger, is_number
from ecomp_deap.report import draw_front
from ecomp_deap.runs.directory import RunDirectory

__all__ = ["TensorBoardLogger"]


class TensorBoardLogger(Logger):
    """Write a search for ``tensorboard --logdir FOLDER``.

    Each generation has its scalars, in groups such as ``accuracy/max``, and CUSTOM SCALARS show
    each quantity's mean between its least and greatest; the end has the front as an image, a table
    of the children that are worth a look, and the configuration beside the best child's figures
    under HPARAMS. A run of the command has a folder of its own within the folder; a search in a
    script has the folder itself, and what an earlier one left there is hidden from the same
    generation on.

    Args:
        folder: Where to write; it is made if it is not there.
        params: See `Logger`.

    Raises:
        ArgumentError: No path, or TensorBoard is not installed (pip install
            'ecomp-deap[tensorboard]').
        DataError: The folder cannot be made.
    """

    def __init__(self, folder: str | Path, *, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(params=params)
        folder = check_path("folder", folder)
        installed("tensorboard", extra="tensorboard", what="TensorBoardLogger")
        from torch.utils import tensorboard

        self._library: Any = tensorboard
        self._folder = make_folder(folder)
        self._writer: Any = None
        self._logged: dict[str, Any] = {}
        self._has_layout = False
        self._step = 0

    def open(self, directory: Path | None, params: Mapping[str, Any], step: int) -> None:
        folder = self._folder if directory is None else self._folder / directory.name
        self._writer = self._library.SummaryWriter(str(folder), purge_step=step)
        self._has_layout = False
        self._logged = {name: value for name, value in params.items() if value is not None}
        if self._logged:
            lines = [f"| {name} | {cell(value)} |" for name, value in self._logged.items()]
            self._writer.add_text("config", "\n".join(["| option | value |", "|---|---|", *lines]))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._step = step
        if not self._has_layout and (charts := _charts(values)):
            self._writer.add_custom_scalars({"generations": charts})
            self._has_layout = True
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        # The library writes in a thread: what cannot be written shows now, and nothing is pending.
        self._writer.flush()

    def finish(self, run: RunDirectory, summary: Mapping[str, Any]) -> None:
        with TemporaryDirectory() as folder:
            image = imread(draw_front(run, summary, Path(folder)))
        self._writer.add_image("front", image, self._step, dataformats="HWC")
        self._writer.add_text("found", found_table(run, summary), self._step)
        best = {f"best/{k}": v for k, v in summary["best"].items() if is_number(v)}
        options = {
            # The library would write False as 0.
            name: value if is_number(value) else str(value)
            for name, value in self._logged.items()
        }
        summaries = self._library.summary.hparams(options, best)
        for made in summaries:
            self._writer.file_writer.add_summary(made)
        for name, value in best.items():
            self._writer.add_scalar(name, value, self._step)

    def end(self) -> None:
        writer, self._writer = self._writer, None
        writer.close()


def _charts(values: Mapping[str, float]) -> dict[str, tuple[str, list[str]]]:
    """Return a chart for each quantity that has them: its mean within its least and greatest."""
    means = [name for name in values if name.endswith("/mean")]
    charts = {}
    for mean in reversed(means):  # the page begins with the last
        name = mean.removesuffix("/mean")
        tags = [f"{name}/{part}" for part in ("mean", "min", "max")]
        if values.keys() >= {*tags}:
            charts[name] = ("Margin", tags)
    return charts
