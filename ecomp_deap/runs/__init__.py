"""A run is one search with one seed: what it was asked (`RunConfig`) and what it leaves behind."""

from ecomp_deap.runs.config import RunConfig, load_toml

__all__ = ["RunConfig", "load_toml"]
