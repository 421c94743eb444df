from dataclasses import fields

import pytest

from ecomp_deap.runs.config import RunConfig
from ecomp_deap.runs.options import OPTIONS, PRESETS, unknown_name_error


def test_options_and_fields_are_the_same_in_the_same_groups():
    assert sorted(OPTIONS) == sorted(field.name for field in fields(RunConfig))


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_default_suits_the_option_and_is_told_where_it_is_none(option):
    default = getattr(RunConfig, option.name)
    assert option.check(default) == default
    assert (default is None) == bool(option.unset)
    assert option.help


@pytest.mark.parametrize("name", PRESETS)
def test_preset_holds_values_in_their_final_types(name):
    for option, value in PRESETS[name].items():
        assert OPTIONS[option].check(value) == value


def test_unknown_name_suggests_a_near_one_or_lists_all():
    assert "did you mean 'seed'?" in str(unknown_name_error("option", "sead", ["seed", "out"]))
    known = ["--epochs", "--population", "--finalise-epochs", "--finalise-trials"]
    assert "did you mean '--population'?" in str(unknown_name_error("option", "--pop", known))
    assert "did you mean '--finalise-epochs'?" in str(unknown_name_error("option", "--fin", known))
    assert "known are --epochs, " in str(unknown_name_error("option", "--", known))
    assert "known are out, seed" in str(unknown_name_error("option", "zzzz", ["seed", "out"]))
