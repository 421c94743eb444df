"""The configuration of a run as a JSON schema, made of the table of options.

``ecomp_deap/runs/config.schema.json`` is a copy of it, for editors and for other programs.
"""

from typing import Any

from ecomp_deap.defaults import WEIGHTED_SELECTIONS
from ecomp_deap.runs.config import RunConfig
from ecomp_deap.runs.options import OPTIONS, Option

__all__ = ["config_schema"]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a run's ``config.json``, or of its TOML file.

    It has the options' types, ranges and defaults, and refuses unknown ones. Of what contradicts
    it has the commonest; `RunConfig` has the last word.

    >>> config_schema()["properties"]["population"]["minimum"]
    4
    """
    defaults = RunConfig().to_json_dict()
    return {
        "$schema": _DRAFT,
        "title": "Configuration of a run of ecomp_deap",
        "type": "object",
        "properties": {name: _property(o, defaults[name]) for name, o in OPTIONS.items()},
        "additionalProperties": False,
        "allOf": [
            {"not": _given("generations", "epochs")},
            _only_with("loss_weights", "selection", WEIGHTED_SELECTIONS),
            _not_with("objectives", "selection", WEIGHTED_SELECTIONS),
            {"if": _given("learnt"), "then": {"properties": {"inherit": {"const": True}}}},
        ],
    }


def _property(option: Option, default: Any) -> dict[str, Any]:
    text = f"{option.help} (default: {option.unset})" if option.unset else option.help
    own = option.kind.schema
    if option.unset:
        own = {"anyOf": [own, {"type": "null"}]}
    return {"description": text, **own, "default": default}


def _given(*names: str) -> dict[str, Any]:
    """Return the schema of objects in which options stand that are not null."""
    return {
        "required": list(names),
        "properties": {name: {"not": {"type": "null"}} for name in names},
    }


def _only_with(name: str, other: str, values: tuple[str, ...]) -> dict[str, Any]:
    """Return the schema by which an option needs another of some values."""
    wanted = {"required": [other], "properties": {other: {"enum": list(values)}}}
    preset = {"required": ["preset"], "properties": {"preset": {"const": "report"}}}
    return {"if": _given(name), "then": {"anyOf": [wanted, preset]}}


def _not_with(name: str, other: str, values: tuple[str, ...]) -> dict[str, Any]:
    """Return the schema by which an option does not go with another of some values."""
    both = {name: {"not": {"type": "null"}}, other: {"enum": list(values)}}
    return {"not": {"required": [name, other], "properties": both}}
