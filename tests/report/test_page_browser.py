"""The page in a browser."""

import statistics

import pytest

from ecomp_deap.report import write_report
from tests.report.browser import (
    CHROMIUM,
    CONTROLS,
    CUT,
    DRIVER,
    FOCUSED,
    PICTURE,
    POINT,
    SELECTED,
    TEXTS,
    Browser,
)
from tests.report.made_runs import HOSTILE, front_of, make_run, row_of

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no Chromium is installed (Debian: apt-get install chromium chromium-driver)",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.driver.quit()


@pytest.fixture(autouse=True)
def silent(request):
    """Every test ends without a message in the console, whatever it did."""
    browser = request.getfixturevalue("browser")
    assert browser.messages == []
    yield
    assert browser.messages == []


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("runs"), front=front_of(9))
    return write_report([folder])


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The page of a search of 100 generations with 200 children."""
    folder = make_run(tmp_path_factory.mktemp("runs"), front=front_of(200), generations=101)
    return write_report([folder])


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    folders = [make_run(out, front=front_of(n)) for n in (3, 5, 9)]
    return write_report(folders, out=out / "several.html")


def test_all_figures_are_drawn(browser, page):
    browser.open(page)
    sizes = browser.run(
        "return Bokeh.index.roots.filter((v) => v.canvas_view).map((v) => v.el.clientWidth)"
    )
    assert len(sizes) == 9
    assert all(size > 200 for size in sizes)
    assert browser.card is None


@pytest.mark.parametrize("plot", [0, 1])
@pytest.mark.parametrize("child", [0, 4, 8])
def test_a_click_on_a_child_opens_its_card(browser, page, plot, child):
    browser.open(page, motion="reduce")
    browser.mouse(*browser.run(POINT, child, plot), click=True)
    browser.until_card(f"child-00{child + 1}")
    # And marks it in both figures, which share their data.
    browser.until(f"{SELECTED} == arguments[0]", child)


def test_a_link_in_the_table_opens_a_card_which_escape_closes(browser, page):
    browser.open(page, motion="reduce")
    browser.run("document.querySelector('tbody a[href=\"#child-004\"]').focus()")
    browser.press("Enter")
    browser.until_card("child-004")
    browser.until(f"{SELECTED} == 3")
    browser.press("Tab")
    assert browser.run(FOCUSED).text == "← smaller"
    browser.press("Enter")
    browser.until_card("child-003")
    top = browser.run("return scrollY")
    browser.press("Escape")
    browser.until("return !document.querySelector('.card:target')")
    assert browser.card is None
    assert browser.run("return scrollY") == top


def test_names_are_no_formulas(browser, tmp_path):
    formula = r"$$\frac{1}{2}$$"
    folder = make_run(tmp_path, picks={"best": "003", formula: "001"}, groups=(formula, "two"),
                      metric=formula)  # fmt: skip
    browser.open(write_report([folder]))
    assert formula in [text["text"] for text in browser.run(TEXTS, 0)]


@pytest.mark.parametrize(("child", "name"), [(0, "run-1-child-001"), (16, "run-3-child-009")])
def test_a_click_on_a_child_of_several_runs_opens_its_card(browser, several, child, name):
    browser.open(several, motion="reduce")
    fronts = browser.run("return Bokeh.index.roots.findIndex((v) => v.el.closest('.fronts'))")
    browser.mouse(*browser.run(POINT.replace("plot == 0", "data.px == null"), child, fronts),
                  click=True)  # fmt: skip
    browser.until_card(name)
    browser.until(f"{SELECTED} == arguments[0]", child)


def test_what_any_run_attains_is_seen_where_others_attain_nothing(browser, tmp_path):
    folders = [make_run(tmp_path, front=[row_of("001", share, 0.8)]) for share in (0.1, 0.4)]
    browser.open(write_report(folders))
    band = browser.run(
        "const {model} = Bokeh.index.roots[1], {start} = model.y_range;"
        "const {data} = model.renderers.find((r) => r.glyph.type == 'VAreaStep').data_source;"
        "return [[...data.x], [...data.y1].map((y) => y == start), [...data.y2]]"
    )
    assert band == [[0.1, 0.4, 1], [True, False, False], [0.795, 0.795, 0.795]]


def test_rows_of_several_runs_are_reached_by_keyboard(browser, several):
    browser.open(several, motion="reduce")
    browser.run("document.querySelectorAll('summary')[1].focus()")
    browser.press("Enter")
    browser.until("return document.querySelectorAll('details')[1].open")
    browser.press("Tab")  # the table, which scrolls
    for i in range(1, 6):
        browser.press("Tab")
        assert browser.run(FOCUSED).get_attribute("hash") == f"#run-2-child-00{i}"
    browser.press("Enter")
    browser.until_card("run-2-child-005")
    # From the card back to its row, though its table is folded.
    browser.run("document.querySelectorAll('details')[1].open = false")
    browser.run("document.querySelector('.card:target a[href^=\"#row-\"]').click()")
    browser.until("return document.querySelectorAll('details')[1].open")
    browser.until("const {top, bottom} = document.querySelector('tr:target')"
                  ".getBoundingClientRect(); return top > 0 && bottom < innerHeight")  # fmt: skip


def test_an_address_can_name_a_child(browser, page):
    browser.open(page, at="#child-007")
    browser.until_card("child-007")


@pytest.fixture(scope="module")
def close(tmp_path_factory):
    """The page of a run whose picks, and the parent, lie close together."""
    shares = {"001": 0.02, "002": 0.7, "003": 0.72, "004": 0.75, "005": 0.9}
    front = [row_of(name, share, 0.8 + share / 10) for name, share in shares.items()]
    picks = {"best": "004", "knee": "002", "within:0.01": "004", "under:26932": "003"}
    return write_report([make_run(tmp_path_factory.mktemp("runs"), front=front, picks=picks)])


@pytest.mark.parametrize("width", [320, 360, 800, 1280])
def test_picks_are_named_in_the_figure_and_no_name_covers_another(browser, close, width):
    browser.open(close, width=width, height=740)
    found = browser.run(TEXTS, 0)
    assert {text["text"].replace("\xa0", " ") for text in found} == {
        *("best and", "within 1 point", "knee", "under 26.9k", "parent, 90.5\u202f%")
    }
    assert {text["color"] for text in found} == {"#575e66"}
    for i, text in enumerate(found):
        assert 0 <= text["left"] < text["right"] <= width
        for other in found[:i]:
            beside = text["right"] <= other["left"] or other["right"] <= text["left"]
            # Their boxes have room for accents, which may meet.
            assert beside or abs(text["top"] - other["top"]) > 15, (text, other)


def test_what_is_shown_at_the_pointer_is_text(browser, tmp_path):
    front = [row_of("001", 0.1, 0.6), row_of(HOSTILE, 0.3, 0.8), row_of("003", 0.9, 0.9)]
    folder = make_run(tmp_path, front=front, picks={"best": HOSTILE}, groups=(HOSTILE, "two"))
    browser.open(write_report([folder]))
    browser.mouse(*browser.run(POINT, 1, 0))
    deep = """
    const all = (e) => [e, ...[...(e.shadowRoot || e).querySelectorAll("*")]
      .flatMap((c) => c.shadowRoot ? all(c.shadowRoot) : [c])];
    const found = all(document.body);
    """
    text = browser.until(
        deep + "return found.find((e) => e.className == 'bk-tooltip-content' || "
        "(e.tagName == 'B' && e.textContent.startsWith('Child ')))?.textContent"
    )
    assert HOSTILE in text
    assert browser.run(deep + "return found.filter((e) => e.tagName == 'IMG').length") == 0
    browser.mouse(*browser.run(POINT, 1, 0), click=True)
    browser.until_card("card-2")


@pytest.mark.parametrize("name", ["page", "several"])
def test_every_control_is_reached_by_tab(browser, request, name):
    browser.open(request.getfixturevalue(name))
    wanted = browser.run(CONTROLS)
    assert len(wanted) >= 8
    reached = []
    for _ in wanted:
        browser.press("Tab")
        reached.append(browser.run(FOCUSED))
    assert reached == wanted
    # In order of the page, each is seen when it has the focus.
    browser.run("arguments[0].focus()", wanted[-1])
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") != "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["page", "several"])
def test_a_phone_scrolls_one_way(browser, request, name, scheme):
    browser.open(request.getfixturevalue(name), width=360, height=740, scheme=scheme,
                 motion="reduce")  # fmt: skip
    assert browser.run("return document.documentElement.scrollWidth") == 360
    if name == "page":
        browser.run("location.hash = 'child-004'")
        browser.until_card("child-004")
        assert browser.run("return document.documentElement.scrollWidth") == 360
        box = browser.run("return document.querySelector('.card:target').getBoundingClientRect()")
        assert box["left"] >= 0
        assert box["right"] <= 360
        assert box["bottom"] <= 740
        width, seen = browser.run(
            "const {scrollWidth, clientWidth} = document.querySelector('.card:target');"
            "return [scrollWidth, clientWidth]"
        )
        assert width == seen


def test_the_page_follows_the_colour_scheme(browser, page):
    grounds, pictures = {}, {}
    for scheme in ("light", "dark"):
        browser.open(page, scheme=scheme)
        grounds[scheme] = browser.run("return getComputedStyle(document.body).backgroundColor")
        pictures[scheme] = browser.run(PICTURE)
    assert grounds == {"light": "rgb(253, 252, 250)", "dark": "rgb(21, 24, 27)"}
    assert pictures["light"] != pictures["dark"]
    # Also while it is open.
    browser.prefer("light")
    browser.until(f"{PICTURE.replace('return', 'const now =')} return now == arguments[0]",
                  pictures["light"])  # fmt: skip


@pytest.mark.parametrize("name", ["page", "several"])
def test_a_printed_page_is_light_and_whole(browser, request, name):
    browser.open(request.getfixturevalue(name), width=794, scheme="dark", at="#child-001")
    browser.run("for (const found of document.querySelectorAll('details')) found.open = true")
    browser.call("Emulation.setEmulatedMedia", media="print",
                 features=[{"name": "prefers-color-scheme", "value": "dark"}])  # fmt: skip
    try:
        ground = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(253, 252, 250)"
        assert browser.run(CUT) == 0
        assert browser.card is None
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize(
    ("scheme", "ink", "ground"),
    [
        ("light", "rgb(29, 33, 38)", "rgb(255, 255, 255)"),
        ("dark", "rgb(233, 230, 225)", "rgb(29, 33, 37)"),
    ],
)
def test_what_is_shown_at_the_pointer_follows_the_colour_scheme(browser, page, scheme, ink, ground):
    browser.open(page, scheme=scheme)
    browser.mouse(*browser.run(POINT, 4, 0))
    found = browser.until(
        "const tip = document.querySelector('.bk-Tooltip'); if (!tip) return null;"
        "const {color, backgroundColor} = getComputedStyle(tip); return [color, backgroundColor]"
    )
    assert found == [ink, ground]


def test_nothing_moves_for_those_who_ask_for_it(browser, page):
    moving = "return [getComputedStyle(document.documentElement).scrollBehavior, " \
        "getComputedStyle(document.querySelector('.card:target')).animationName]"  # fmt: skip
    browser.open(page, at="#child-001")
    assert browser.run(moving) == ["smooth", "in"]
    browser.open(page, at="#child-001", motion="reduce")
    assert browser.run(moving) == ["auto", "none"]


def test_nothing_is_loaded(browser, page):
    browser.open(page)
    loaded = browser.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []


def test_the_largest_page_is_ready_in_two_seconds(browser, large):
    assert statistics.median(float(browser.open(large)) for _ in range(3)) < 2000


def test_a_page_works_without_scripts_of_ours(browser, page):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.driver.get("about:blank")
        browser.driver.get(f"{page.as_uri()}#child-002")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.card == "child-002"
