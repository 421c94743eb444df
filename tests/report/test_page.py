import json
import re
import shlex
import sys

import pytest

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.report import write_report
from tests.report.made_runs import (
    HOSTILE,
    Page,
    check_sound,
    front_of,
    make_run,
    page_of,
    row_of,
)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_page_lies_in_the_first_run_and_nothing_else_changes(run, tmp_path):
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert write_report([run]) == run / "report.html"
    assert write_report([str(run)], out=tmp_path / "a" / "b.html") == tmp_path / "a" / "b.html"
    assert {p: p.read_bytes() for p in before} == before
    assert {p for p in run.rglob("*") if p.is_file()} - set(before) == {run / "report.html"}


def test_the_first_sentences_say_what_was_found(run):
    page = page_of(run)
    assert page.text("h1") == "89.5 % accuracy with 90 % of the parameters".replace(
        "90 %", "90.0 %"
    )
    assert page.text("p", cls="lede") == (
        "The parent network has 100,000 parameters and classifies 90.5 % of new test images "
        "correctly. The best child keeps 90,000 of them, 90.0 %, and classifies 89.5 % correctly: "
        "1.0 point less than the parent."
    )
    assert page.text("p", cls="aside") == (
        "The search made 1,200 evaluations in 3.0 seconds; the final training of some took 1.0 "
        "seconds."
    )


def test_every_child_has_a_row_that_leads_to_its_card(run):
    page = page_of(run)
    links = {e["text"]: e["href"] for e in page.all("a") if "th" in e["in"]}
    assert links == {f"00{i}": f"#child-00{i}" for i in (1, 2, 3)}
    names = [e["id"] for e in page.all("article", cls="card")]
    assert names == [f"child-00{i}" for i in (1, 2, 3)]
    cards = dict(zip(names, page.texts("article"), strict=True))
    assert "Child 002 Knee 69.50 % test accuracy with 9.5 %" in cards["child-002"]
    assert "one 5 of 40" in cards["child-002"]
    assert "two 6 of 50" in cards["child-002"]
    assert "Parameters 9,487 100,000" in cards["child-002"]
    assert "Before the final training" not in cards["child-002"]
    assert "Before the final training 20.00 %" in cards["child-001"]


def test_picks_are_marked(tmp_path):
    picks = {"best": "003", "within:0.01": "003", "knee": "002", "under:900": None}
    page = page_of(make_run(tmp_path, picks=picks))
    shown = [text for text in page.texts("li") if "Best" in text]
    assert len(shown) == 1
    assert shown[0].startswith("Best and smallest within 1 point 89.5 % with 90.0 %")
    assert "There is no such child" in page.text("ul", cls="picks")
    assert page.texts("span", cls="than")[1].endswith("points less than the parent, child 002")
    tags = page.texts("span", cls="tag")
    assert tags == ["knee", "best", "within 1 point"]
    assert "best and within 1 point" in (tmp_path / "first_1" / "report.html").read_text()


def test_what_is_typed_takes_the_child_along(tmp_path):
    folder = make_run(tmp_path / "two words", config={"factory": "nets/my models.py:Zoo.small"})
    page = page_of(folder)
    code = [e["text"] for e in page.all("code") if "pre" in e["in"]]
    assert shlex.split(code[0]) == [
        *("ecomp-deap", "export", str(folder), "--child", "001", "--format", "pt2"),
        *("--factory", "nets/my models.py:Zoo.small"),
    ]
    assert code[1].endswith(f"load_child({str(folder / 'children' / '001.safetensors')!r}, ...)")
    change(folder / "config.json", factory="nets/my_models.py:Zoo.small")
    code = [e["text"] for e in page_of(folder).all("code") if "pre" in e["in"]]
    lines = code[1].splitlines()
    assert lines[:2] == ["import ecomp_deap as ed", "from my_models import Zoo"]
    assert lines[2].endswith("001.safetensors', Zoo.small)")
    change(folder / "config.json", factory=None)
    code = [e["text"] for e in page_of(folder).all("code") if "pre" in e["in"]]
    assert "--factory" not in code[0]
    assert code[1].endswith("001.safetensors')")


def test_the_page_is_sound_and_loads_nothing(run):
    check_sound(page_of(run))


def test_all_that_comes_from_files_is_escaped(tmp_path):
    front = [
        row_of(HOSTILE, 0.1, 0.8, widths="20-30"),
        row_of("b c", 0.2, 0.85, widths="21-30"),
        row_of("003", 0.3, 0.9, widths="22-30"),
    ]
    folder = make_run(
        tmp_path,
        front=front,
        groups=(HOSTILE, "two"),
        picks={"best": HOSTILE, HOSTILE: "b c", "knee": "003"},
        config={HOSTILE: HOSTILE, "factory": HOSTILE},
    )
    change(folder / "summary.json", versions={HOSTILE: HOSTILE}, parent_source=HOSTILE)
    (folder / "children" / "001.json").write_text("{}")
    page = page_of(folder)
    check_sound(page)
    assert len(page.all("script")) == 3
    assert HOSTILE in [e["text"] for e in page.all("a")]
    assert [e["id"] for e in page.all("article")] == ["card-1", "card-2", "child-003"]
    several = page_of(folder, folder, out=tmp_path / "two.html")
    check_sound(several)
    assert len(several.all("script")) == 3


def test_names_of_layers_and_of_folders_are_escaped(tmp_path):
    folder = make_run(tmp_path, groups=(HOSTILE, "two"))
    folder = folder.rename(tmp_path / HOSTILE.replace("/", "∕"))
    page = page_of(folder)
    check_sound(page)
    assert len(page.all("script")) == 3
    assert HOSTILE in [e["text"] for e in page.all("span")]
    check_sound(page_of(folder, folder, out=tmp_path / "two.html"))


def test_the_page_of_a_long_search_is_small(tmp_path):
    folder = make_run(tmp_path, front=front_of(200), generations=101)
    assert write_report([folder]).stat().st_size < 2.5e6
    long = make_run(tmp_path, front=front_of(200), generations=5000)
    assert write_report([long]).stat().st_size < 2.7e6


@pytest.mark.parametrize("n", [1, 2])
def test_few_children_and_one_generation_are_enough(tmp_path, n):
    folder = make_run(tmp_path, front=front_of(n), generations=1)
    page = page_of(folder)
    check_sound(page)
    assert len(page.all("article")) == n


def test_the_legend_has_what_the_figure_shows(tmp_path):
    def legend(front):
        page = page_of(make_run(tmp_path, front=front, picks={"best": "001"}))
        return [e["text"].strip() for e in page.all("li") if "figcaption" in e["in"]]

    front = [row_of("001", 0.1, 0.9), row_of("002", 0.5, 0.95), row_of("003", 0.7, 0.8)]
    assert legend(front[:1]) == ["worth a look", "parent"]
    assert legend(front) == [
        *("worth a look", "parent", "best of its size or smaller", "other children")
    ]
    trained = [row_of("001", 0.1, 0.9, before=0.5)]
    assert legend(trained) == ["worth a look", "parent", "before the final training"]


def test_a_lone_child_is_compared_with_no_other(tmp_path):
    headings = page_of(make_run(tmp_path, front=front_of(1))).texts("h2")
    assert "The only child" in headings
    assert "The same children, figure by figure" not in headings


def test_it_is_said_what_the_best_child_is(run):
    rule = "smallest one whose validation accuracy is at most 1 point below the parent’s, or if"
    assert rule in page_of(run).text("main")
    change(run / "config.json", selection="roulette")
    assert "the one with the highest weighted sum" in page_of(run).text("main")
    (run / "config.json").unlink()
    fitness = {"loss_weights": [1, 2, 1], "metric": {"class": "Metric"}}
    (run / "settings.json").write_text(json.dumps({"fitness": fitness}))
    assert "the one with the highest weighted sum" in page_of(run).text("main")
    change(run / "settings.json", fitness={"objectives": ["accuracy", "param_count"]})
    assert rule in page_of(run).text("main")


def test_a_training_that_no_child_had_is_not_told(tmp_path):
    front = [{k: v for k, v in row.items() if "before" not in k} for row in front_of(3)]
    page = page_of(make_run(tmp_path, front=front))
    assert page.text("p", cls="aside") == "The search made 1,200 evaluations in 3.0 seconds."
    assert "before the final training" not in page.texts("li")


def test_what_an_older_run_lacks_is_left_out(run):
    for name in ("logbook.csv", "timings.csv", "config.json", "embeddings.json", "lineage.json"):
        (run / name).unlink()
    for path in (run / "children").iterdir():
        path.unlink()
    summary = json.loads((run / "summary.json").read_text())
    for name in ("picks", "seconds", "evaluations", "versions"):
        del summary[name]
    (run / "summary.json").write_text(json.dumps(summary))
    page = page_of(run)
    check_sound(page)
    assert "How the search went" not in page.texts("h2")
    assert "group 1" in page.texts("article")[0]
    assert page.all("p", cls="aside") == []


def test_quantities_over_the_generations_have_a_figure_each(run):
    headings = page_of(run).texts("h3")
    assert headings[headings.index("Accuracy") :][:5] == [
        *("Accuracy", "Parameters", "Similarity loss", "Hypervolume", "Seconds per generation")
    ]


def test_embeddings_lie_side_by_side(run):
    page = page_of(run)
    links = {e["text"]: e["href"] for e in page.all("a") if "h3" in e["in"]}
    assert links == {"Child 003, best": "#child-003"}
    assert "of their embeddings at act" in page.text("main")
    change(run / "embeddings.json", labels=None)
    assert len(page_of(run).all("figure")) == len(page.all("figure"))
    change(run / "embeddings.json", labels=[0, 1, 2, 3, 10])
    assert len(page_of(run).all("figure")) == len(page.all("figure"))


def test_a_card_tells_how_its_child_came_about(tmp_path):
    folder = make_run(tmp_path, front=front_of(4))
    page = page_of(folder)
    assert page.texts("li")[-3:] == [
        "Generation 0 pruned from the parent 70,000 parameters, 50 % of its batch",
        "Generation 1 crossed with one of generation 0 (cxUniformUnits) and mutated "
        "(mutResizeGroup) 90,000 parameters, 75 % of its batch",
        "At the end trained for longer 89.5 % of all test samples",
    ]
    steps = [[i, ["mutResizeGroup"], 500, 0.5] for i in range(40)]
    (folder / "lineage.json").write_text(json.dumps({"003": [steps[0], [], *steps[1:]]}))
    steps = [text for text in page_of(folder).texts("li") if "Gen" in text or "…" in text]
    assert [" ".join(text.split()[:2]) for text in steps] == [
        *("Generation 0", "… generations", *(f"Generation {i}" for i in range(29, 40))),
    ]
    assert "At the end resized 20,083 parameters" in page_of(folder).texts("li")


@pytest.mark.parametrize(
    "content",
    [
        *([1], {"003": 3}, {"003": [3]}, {"003": [[1, 2, 3]]}, {"003": [[-1, [], 3, 0.5]]}),
        *({"003": [[1, "x", 3, 0.5]]}, {"003": [[1, [2], 3, 0.5]]}, {"003": [[1, [], 3, "x"]]}),
    ],
)
def test_a_damaged_lineage_is_named(run, content):
    (run / "lineage.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"lineage\.json: expected a lineage, but "):
        write_report([run])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"labels": [1]}, "its points are not of the same samples"),
        ({"labels": "x"}, "it is no list"),
        ({"labels": [-1] * 5}, r"\[0\] is -1"),
        ({"points": {"003": [[0, 0]] * 5}}, "or none are the parent's"),
        ({"points": {"parent": [[0, 0, 0]] * 5}}, "it has a point that has not x and y"),
        ({"points": {"parent": [[0, "<b>"]] * 5}}, r"\[0\]\[0\]\[1\] is '<b>'"),
        ({"points": [[0, 0]]}, "points is a list"),
        ({"layer": 3}, "layer is 3"),
        ({"more": 3}, "it has not just layer, labels, points"),
    ],
)
def test_damaged_embeddings_are_named(run, values, message):
    change(run / "embeddings.json", **values)
    with pytest.raises(DataError, match=rf"embeddings\.json: expected embeddings, but .*{message}"):
        write_report([run])


def test_without_test_data_accuracies_are_those_of_validation(tmp_path):
    folder = make_run(tmp_path, front=[{**row, "test_accuracy": None} for row in front_of(3)])
    page = page_of(folder)
    assert page.text("h1").startswith("90.0 % accuracy")
    assert "of validation images" in page.text("p", cls="lede")


def test_another_metric_goes_by_its_own_name(tmp_path):
    picks = {"best": "003", "within:0.01": "003", "under:20000": "002"}
    folder = make_run(tmp_path, metric="r2_score", picks=picks)
    page = page_of(folder)
    check_sound(page)
    assert page.text("h1") == "R2 score 0.895 with 90.0 % of the parameters"
    assert page.text("p", cls="lede") == (
        "The parent network has 100,000 parameters and has a test r2 score of 0.905. The best "
        "child keeps 90,000 of them, 90.0 %, and has 0.895: 0.01 less than the parent."
    )
    assert "What a child’s size costs in r2 score" in page.texts("h2")
    assert "R2 score" in page.texts("h3")
    assert page.texts("th", scope="col")[1:3] == ["Test r2 score", "Validation r2 score"]
    assert page.texts("span", cls="what") == [
        *("Best and smallest within 0.01", "Best r2 score under 20,000 parameters")
    ]
    assert page.texts("span", cls="than")[0] == "0.01 less than the parent, child 003"
    card = page.texts("article")[2]
    assert "0.895 test r2 score with 90.0 % of the parameters: 0.01 less than the parent." in card
    assert "90,000 parameters, 0.75 on its batch" in card
    said = [text for tag in ("h2", "h3", "p", "li", "th", "td") for text in page.texts(tag)]
    said += [e["aria-label"] for e in page.elements if "aria-label" in e]
    assert [text for text in said if "ccurac" in text] == []


def test_of_a_metric_of_which_less_is_better_the_least_are_the_best(tmp_path):
    front = [row_of("001", 0.1, 0.9), row_of("002", 0.5, 0.95), row_of("003", 0.7, 0.8)]
    folder = make_run(tmp_path, front=front, metric="error", maximise=False, picks={"best": "002"})
    page = page_of(folder)
    check_sound(page)
    assert page.text("h1") == "Error 0.055 with 50.0 % of the parameters"
    assert page.text("p", cls="lede").endswith("has 0.055: 0.04 less than the parent.")
    found = page.text("main")
    assert "Less error is better. Sizes are" in " ".join(found.split())
    assert "smallest one whose validation error is at most 0.02 above the parent’s" in found
    assert "The knee is where a little less of error or of size" in found
    legend = [e["text"].strip() for e in page.all("li") if "figcaption" in e["in"]]
    assert legend == ["worth a look", "parent", "best of its size or smaller", "other children"]


def test_latency_is_shown_where_it_was_measured(tmp_path):
    folder = make_run(tmp_path, front=[row_of("001", 0.1, 0.8, latency=0.25)])
    page = page_of(folder)
    assert "Latency, ms 0.25" in page.texts("article")[0]
    assert "ms" in page.texts("th")


def test_networks_of_many_groups_are_shown(tmp_path):
    wide = "-".join(map(str, range(1, 61)))
    groups = [f"stage.{i}" for i in range(60)]
    folder = make_run(
        tmp_path, front=[row_of(f"{i:03d}", 0.1 + i / 500, 0.8, widths=wide) for i in range(200)]
    )
    for path in (folder / "children").iterdir():
        change(path, kept={group: [0] for group in groups})
    summary = json.loads((folder / "summary.json").read_text())
    change(folder / "summary.json", parent={**summary["parent"], "widths": "-".join(["64"] * 60)})
    path = write_report([folder])
    page = Page(path)
    assert "stage.59" in page.texts("article")[0]
    assert path.stat().st_size < 5e6


def test_a_run_that_is_not_finished_says_how_to_go_on(run):
    (run / "summary.json").unlink()
    with pytest.raises(DataError, match=rf"not finished; to go on: ecomp-deap resume {run}"):
        write_report([run])


def test_no_run_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"runs: expected at least one, got \[\]"):
        write_report([])
    with pytest.raises(ArgumentError, match=r"runs: expected .*folders of runs, got 'first_1'"):
        write_report("first_1")
    with pytest.raises(DataError, match=r"nothing: expected the folder of a finished run"):
        write_report([tmp_path / "nothing"])


@pytest.mark.parametrize(
    "name", ["logbook.csv", "timings.csv", "config.json", "front.csv", "embeddings.json"]
)
def test_a_damaged_file_is_named(run, name):
    (run / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=re.escape(name)):
        write_report([run])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"param_count": None}, "'002': expected a number of parameters, got None"),
        ({"param_count": 0}, "'002': expected a number of parameters, got 0"),
        ({"validation_accuracy": None, "test_accuracy": None}, "'002': expected a validation_acc"),
        ({"id": "001"}, "expected an id of its own for each child"),
    ],
)
def test_a_front_that_cannot_be_shown_is_named(tmp_path, row, message):
    first, second, third = front_of(3)
    folder = make_run(tmp_path, front=[first, {**second, **row}, third])
    with pytest.raises(DataError, match=message):
        write_report([folder])


def test_a_front_without_children_is_named(run):
    header, *_ = (run / "front.csv").read_text().splitlines()
    (run / "front.csv").write_text(f"{header}\n")
    with pytest.raises(DataError, match=r"first_1: expected children in front\.csv"):
        write_report([run])


@pytest.mark.parametrize("module", ["bokeh.plotting", "jinja2"])
def test_what_is_not_installed_is_named(run, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    message = rf"expected {module} to be installed \(pip install 'ecomp-deap\[report\]'\)"
    with pytest.raises(ArgumentError, match=message):
        write_report([run])
    assert not (run / "report.html").exists()
