import io
from pathlib import Path

from ecomp_deap.progress import Lines
from tests.progress.watched import watch


def shown(n_generations=60):
    stream = io.StringIO()
    watch(Lines(stream), n_generations)
    return stream.getvalue().splitlines()


def test_log_gets_few_plain_lines():
    lines = shown()
    assert lines[:2] == ["training the parent", "the slice is used"]
    last = "accuracy up to 0.560, width from 0.12, hypervolume 0.600"
    assert f"first_2 (2 of 3): generation 60 of 60: {last}" in lines
    assert lines[-1] == "finalising"
    assert 10 <= len(lines) <= 16
    assert all(line.isprintable() for line in lines)


def test_search_without_generations_is_shown_too():
    assert any("generation 0 of 0: accuracy up to 0.500" in line for line in shown(0))


def lines_of(record, hypervolumes):
    """What is shown of a run of one generation."""
    stream = io.StringIO()
    lines = Lines(stream)
    lines.on_run_start(1, 1, Path("first_1"), 1)
    lines.on_generation(0, 1, record)
    lines.on_front(0, [], hypervolumes)
    return stream.getvalue()


def test_generation_whose_children_all_failed_has_no_figures():
    found = lines_of({"accuracy_max": None, "relative_width_min": None}, [0.0])
    assert found == "first_1: generation 0 of 1: no sound child within the limits\n"


def test_a_task_without_classes_has_no_hypervolume():
    found = lines_of({"r2_max": 0.9, "relative_width_min": 0.5}, [])
    assert found == "first_1: generation 0 of 1: width from 0.50\n"


def test_a_message_cannot_steer_a_terminal():
    stream = io.StringIO()
    Lines(stream).on_message("a\x1b[2J\u202eb\r")
    assert stream.getvalue() == "a\\x1b[2J\\u202eb\\r\n"


def test_a_search_in_python_has_no_name():
    stream = io.StringIO()
    lines = Lines(stream)
    lines.on_generation(0, 1, {"accuracy_max": 0.5, "relative_width_min": 0.25})
    lines.on_front(0, [], [0.75])
    assert stream.getvalue() == (
        "generation 0 of 1: accuracy up to 0.500, width from 0.25, hypervolume 0.750\n"
    )
