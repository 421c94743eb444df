import pytest

from ecomp_deap.report._charts import children_source, front_plot


@pytest.mark.parametrize(
    ("maximise", "steps"), [(True, [0.3, 0.5, 0.5, 0.5]), (False, [0.3, 0.3, 0.2, 0.1])]
)
def test_steps_lead_over_the_best_of_each_size(maximise, steps):
    xs, ys = [0.1, 0.2, 0.4, 0.8], [0.3, 0.5, 0.2, 0.1]
    texts = [""] * len(xs)
    plot = front_plot(
        children_source({"x": xs, "y": ys, "tip": texts, "card": texts}),
        groups={"front": [0, 1, 2, 3], "others": [], "picks": []},
        parent=(0.4, "parent"),
        before=([], [], []),
        labels=[],
        y_label="Value",
        of="value",
        maximise=maximise,
    )
    (step,) = [r for r in plot.renderers if type(r.glyph).__name__ == "Step"]
    assert list(step.data_source.data["x"]) == xs
    assert list(step.data_source.data["y"]) == steps
