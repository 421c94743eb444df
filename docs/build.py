"""Make a browsable site of the guides, the README and the API reference.

    python docs/build.py site

Needs the packages of ``pip install '.[docs]'`` and no network, nor does the site: open
``site/index.html``. Pages keep their places, so that their links stay as they are, but for
``.md``, which becomes ``.html``; files that they link to are copied. A link to nowhere, a module
that cannot be read or any warning is an error.
"""

import html
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from pkgutil import iter_modules
from posixpath import normpath, relpath
from urllib.parse import unquote, urlsplit

import pdoc
from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

import ecomp_deap

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = Path(__file__).with_name("templates")
# What the package itself is made of, and its users do not import.
_INNER = (
    *("checks", "cli", "copying", "defaults", "files", "finite"),
    *("interrupts", "progress", "seeding", "threads"),
)


def build(site: Path) -> list[str]:
    """Write the site, and return the paths of its pages."""
    warnings.simplefilter("error")
    pages = {"README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))}
    _write_pages(pages, site)
    pdoc.render.configure(docformat="google", template_directory=TEMPLATES)
    pdoc.pdoc(*modules(), output_directory=site / "api")
    forward = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">\n'
    (site / "index.html").write_text(forward, encoding="utf-8")
    broken = broken_links(site)
    if broken:
        raise SystemExit("links to nowhere:\n" + "\n".join(broken))
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))


def modules() -> list[str]:
    """Return the names of what is documented: the package, and the packages and modules in it."""
    inner = (m.name for m in iter_modules(ecomp_deap.__path__) if not m.name.startswith("_"))
    named = [f"ecomp_deap.{name}" for name in inner if name not in _INNER]
    return ["ecomp_deap", *named, "ecomp_deap.evaluation.workers"]


def _write_pages(todo: set[str], site: Path) -> None:
    """Write pages, and then those that they link to; files are copied."""
    template = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True).get_template(
        "page.html.jinja2"
    )
    done: set[str] = set()
    guides = [(_title(ROOT / "docs" / name), f"docs/{name}") for name in _guides()]
    while todo - done:
        name = min(todo - done)
        done.add(name)
        source, target = ROOT / name, site / _renamed(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            entries = sorted(p.name for p in source.iterdir() if p.is_file())
            text = f"# {name}\n\n" + "\n".join(f"- [{entry}]({entry})" for entry in entries)
            base = f"{name}/index.md"
        elif source.suffix == ".md":
            text, base = source.read_text(encoding="utf-8"), name
        else:
            shutil.copyfile(source, target)
            continue
        body, links = _rendered(text, base)
        todo |= links
        here = str(PurePosixPath(base).parent)
        content = template.render(
            title=_title(source) if source.is_file() else name,
            body=body,
            style=HtmlFormatter(style="default").get_style_defs(".code"),
            dark=HtmlFormatter(style="github-dark").get_style_defs(".code"),
            guides=[(title, relpath(_renamed(path), here)) for title, path in guides],
            current=relpath(_renamed(base), here),
            readme=relpath("README.html", here),
            api=relpath("api/ecomp_deap.html", here),
        )
        target.write_text(content, encoding="utf-8")


def _guides() -> list[str]:
    """Return the files of the guides, in the order of the index."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    return ["index.md", *re.findall(r"^\| \[[^\]]+\]\(([\w-]+\.md)\)", index, flags=re.MULTILINE)]


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")


def _renamed(name: str) -> str:
    """Return where a page, a folder or a file of the project is in the site."""
    if (ROOT / name).is_dir():
        return f"{name}/index.html"
    return f"{name.removesuffix('.md')}.html" if name.endswith(".md") else name


def _rendered(text: str, name: str) -> tuple[str, set[str]]:
    """Return a page as HTML, and what it links to in the project.

    Args:
        text: In Markdown.
        name: Of its file, by which its links go.
    """
    markdown = MarkdownIt("commonmark", {"highlight": _highlighted}).enable("table")
    tokens = markdown.parse(text)
    links: set[str] = set()
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", _slug(tokens[i + 1].content))
        for child in token.children or ():
            for attribute in ("href", "src"):
                url = str(child.attrGet(attribute) or "")
                if not url or url.startswith(("#", "http://", "https://", "mailto:")):
                    continue
                path, _, section = unquote(url).partition("#")
                linked = normpath(str(PurePosixPath(name).parent / path))
                links.add(linked)
                place = relpath(_renamed(linked), str(PurePosixPath(name).parent))
                child.attrSet(attribute, f"{place}#{section}" if section else place)
    return markdown.renderer.render(tokens, markdown.options, {}), links


def _slug(title: str) -> str:
    """Return the name by which links find a section, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def _highlighted(code: str, language: str, _attributes: str) -> str:
    if language in ("", "text"):
        return ""
    lexer = get_lexer_by_name(language)
    inner = highlight(code, lexer, HtmlFormatter(nowrap=True))
    return f'<pre class="code"><code>{inner}</code></pre>'


class _Links(HTMLParser):
    """Collects the links of a page, and the places that can be linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {value for name in ("id", "name") if (value := found.get(name))}
        self.links += [value for name in ("href", "src") if (value := found.get(name))]


def _links_of(path: Path) -> _Links:
    parser = _Links()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


def broken_links(site: Path) -> list[str]:
    """Return the links of a site's pages to files and sections that are not there."""
    return list(_broken(site))


def _broken(site: Path) -> Iterator[str]:
    pages = {path.resolve(): _links_of(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(html.unescape(link))
            if parts.scheme or link.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages.get(target)
            section = unquote(parts.fragment)
            missing = section and known is not None and section not in known.ids
            if not target.is_file() or missing:
                yield f"{path.relative_to(site.resolve())}: {link}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(f"{len(build(Path(sys.argv[1])))} pages in {sys.argv[1]}")
