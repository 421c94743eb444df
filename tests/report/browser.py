"""Headless Chromium, which Debian's chromium and chromium-driver bring, and what is asked of it."""

import shutil

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

# Where a child's point is in the window, and the element that has the focus, in whatever shadow.
POINT = """
const [i, plot] = arguments, view = Bokeh.index.roots[plot], {data} = view.model.document
  .get_model_by_name("children");
view.el.scrollIntoView({block: "center", behavior: "instant"});
const box = view.canvas_view.el.getBoundingClientRect();
const x = plot == 0 ? data.x[i] : data.px[i][0], y = plot == 0 ? data.y[i] : data.py[i][0];
return [box.x + view.frame.x_scale.compute(x), box.y + view.frame.y_scale.compute(y)];
"""
CUT = """
return [...document.querySelectorAll(".scroll, .wide")]
  .filter((e) => e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight).length;
"""
FOCUSED = """
let found = document.activeElement;
while (found.shadowRoot && found.shadowRoot.activeElement) found = found.shadowRoot.activeElement;
return found;
"""
CONTROLS = """
return [...document.querySelectorAll("a[href], summary, [tabindex='0']")]
  .filter((e) => e.checkVisibility());
"""
SELECTED = "return Bokeh.documents[0].get_model_by_name('children').selected.indices[0]"
PICTURE = """
return Bokeh.index.roots[0].canvas_view.primary.canvas.toDataURL();
"""
# What is written into a figure: each text, its colour, and where it is in the window.
TEXTS = """
const view = Bokeh.index.roots[arguments[0]], box = view.canvas_view.el.getBoundingClientRect();
const labels = view.owner.query((v) => v.model.type == "Label" && v.plot_view == view);
return [...labels].map((label) => {
  const {sx, sy, anchor, width, height} = label._rect;
  const x = box.x + sx - anchor.x * width, y = box.y + sy - anchor.y * height;
  const {color} = label.visuals.text.values();
  return {text: label._text_view.model.text, color, left: x, right: x + width, top: y};
});
"""


class Browser:
    """A window of its own user, with a page in it."""

    def __init__(self, folder):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={folder}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))

    def open(self, path, *, width=1280, height=900, scheme="light", motion="no-preference", at=""):
        """Show a page, and wait until it can be used; return the milliseconds that took."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 500)  # fmt: skip
        self.prefer(scheme, motion)
        self.driver.get("about:blank")
        self.driver.get(path.as_uri() + at)
        return self.until("return document.documentElement.dataset.ready")

    def prefer(self, scheme, motion="no-preference"):
        wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        self.call("Emulation.setEmulatedMedia", features=features)

    def call(self, command, **arguments):
        return self.driver.execute_cdp_cmd(command, arguments)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, script, *arguments):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 30).until(lambda _: self.run(script, *arguments))

    def mouse(self, x, y, *, click=False):
        kinds = ("mouseMoved", "mousePressed", "mouseReleased") if click else ("mouseMoved",)
        for kind in kinds:
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def press(self, key, *, shift=False):
        codes = {"Tab": 9, "Enter": 13, "Escape": 27}
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode=codes[key], modifiers=8 * shift, **text)  # fmt: skip

    @property
    def card(self):
        """The id of the child whose card can be seen, None where there is none."""
        return self.run(
            "const c = [...document.querySelectorAll('.card')].filter((c) => c.checkVisibility());"
            "return c.length == 1 ? c[0].id : null"
        )

    def until_card(self, name):
        self.until("const c = document.querySelector('.card:target'); return c?.id == arguments[0]",
                   name)  # fmt: skip
        assert self.card == name

    @property
    def messages(self):
        return self.driver.get_log("browser")
