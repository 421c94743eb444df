"""Write docs/options.md, the table of a run's options, from what the command itself reads.

python docs/write_options.py
"""

from pathlib import Path
from typing import Any

from ecomp_deap.runs.config import RunConfig
from ecomp_deap.runs.kinds import Flag
from ecomp_deap.runs.options import OPTIONS, PRESETS, Option

PAGE = Path(__file__).with_name("options.md")
POSITIONALS = ("n_runs", "name")
HEAD = (
    "# Options",
    "What `ecomp-deap run N_RUNS NAME` takes. In a file for `--config FILE.toml`, and in a run's "
    "`config.json`, the same options stand under the same names with `_` in place of `-`, as in "
    "`finalise_count = 10`; there a list is a list, weights of losses are a table, and flags are "
    "true or false. The command line goes before the file, the file before `--preset report`; what "
    "contradicts is refused before any work.",
    "Three stand in no file: `--config FILE.toml` names one, `--json` prints the runs' folders and "
    "summaries as JSON, `--debug` adds the traceback of an error.",
    "The same as a JSON schema: [`config.schema.json`](../ecomp_deap/runs/config.schema.json), or "
    "`ecomp-deap schema`. This page is written by `docs/write_options.py`.",
)


def options_page() -> str:
    """Return the page, in Markdown."""
    groups: dict[str, list[Option]] = {}
    for option in OPTIONS.values():
        groups.setdefault(option.group, []).append(option)
    parts = list(HEAD)
    for title, options in groups.items():
        rows = [["option", "takes", "default", "is"], ["---"] * 4]
        rows += [[_names(o), _cell(_takes(o)), _cell(_default(o)), _cell(o.help)] for o in options]
        parts.append(f"## {title[0].upper()}{title[1:]}")
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(parts) + "\n"


def _names(option: Option) -> str:
    if option.name in POSITIONALS:
        return f"`{option.name.upper()}`"
    negated = f", `--no-{option.flag[2:]}`" if isinstance(option.kind, Flag) else ""
    return f"`{option.flag}`{negated}"


def _takes(option: Option) -> str:
    return "nothing" if isinstance(option.kind, Flag) else option.kind.expected


def _default(option: Option) -> str:
    if option.name in POSITIONALS:
        return "none, it has to be given"
    default = getattr(RunConfig, option.name)
    usual = option.unset or _text(default)
    by_preset = {
        name: _text(bundle[option.name])
        for name, bundle in PRESETS.items()
        if option.name in bundle and bundle[option.name] != default
    }
    others = [f"with `--preset {n}` {text}" for n, text in by_preset.items() if text != usual]
    return "; ".join([usual, *others])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(_text, value)) if isinstance(value, tuple) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(options_page(), encoding="utf-8")
