"""Elements of an HTML page as a tree: what is put into it is escaped by whoever writes it out."""

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

Element = ElementTree.Element
Content = Element | str


def element(tag: str, *children: Content, **attributes: str) -> Element:
    """An element with texts and elements in it; `class_` stands for the attribute `class`."""
    made = Element(tag, {key.rstrip("_"): value for key, value in attributes.items()})
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def paragraph(*children: Content, **attributes: str) -> Element:
    """A <p>."""
    return element("p", *children, **attributes)


def bullets(items: Iterable[Content]) -> Element:
    """A list of sentences."""
    return element("ul", *(element("li", item) for item in items))


def facts(items: Iterable[tuple[str, Content]]) -> Element:
    """Names and what they stand for, side by side where there is room."""
    pairs = (element("div", element("dt", name), element("dd", value)) for name, value in items)
    return element("dl", *pairs)


def table(
    header: Sequence[str], rows: Iterable[Sequence[Content]], numbers: Sequence[int] = ()
) -> Element:
    """A table that scrolls by itself where it is too wide; the columns `numbers` align right."""
    classes = [{"class_": "number"} if i in numbers else {} for i in range(len(header))]

    def line(tag: str, cells: Sequence[Content], **attributes: str) -> Element:
        filled = zip(cells, classes, strict=True)
        return element("tr", *(element(tag, cell, **own, **attributes) for cell, own in filled))

    head = element("thead", line("th", header, scope="col"))
    body = element("tbody", *(line("td", row) for row in rows))
    return element("div", element("table", head, body), class_="scroll", tabindex="0")


def code(text: str) -> Element:
    """A block of text as it is typed; long lines are broken where they are shown."""
    return element("pre", element("code", text))


def document(title: str, language: str, body: Iterable[Element]) -> str:
    """A whole page, its style in it."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", STYLE),
    )
    page = element("html", head, element("body", element("main", *body)), lang=language)
    return "<!DOCTYPE html>\n" + ElementTree.tostring(page, encoding="unicode", method="html")


STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --panel: #f4f5f7; --ink: #1d2126; --muted: #59616b; --rule: #d8dce1;
  --first: #1f5fa8; --second: #b3540c; --third: #23804a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --panel: #1e2226; --ink: #e4e7ea; --muted: #a0a8b1; --rule: #363c43;
    --first: #76b0f0; --second: #f0a35e; --third: #74cf97;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.6rem; padding-top: 0.6rem;
  border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.3rem 0 0.3rem; }
p, ul { max-width: 46rem; margin: 0.6rem 0; overflow-wrap: anywhere; }
ul { padding-left: 1.2rem; }
li { margin: 0.35rem 0; }
.note, dt { color: var(--muted); font-size: 0.875rem; }
.tiles, .figures { display: grid; gap: 0.75rem; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); margin: 1.2rem 0; }
.tiles div { background: var(--panel); border-radius: 0.5rem; padding: 0.7rem 0.9rem; }
.tiles b { display: block; font-size: 1.3rem; font-weight: 600; line-height: 1.35; }
.tiles span { color: var(--muted); font-size: 0.875rem; }
.figures { grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.5rem; }
.columns { columns: 3 19rem; column-gap: 2rem; }
.columns h3 { break-after: avoid; }
.columns dl div { break-inside: avoid; }
figure { margin: 0; }
summary { cursor: pointer; margin: 0.6rem 0; }
svg { display: block; width: 100%; height: auto; font-family: inherit; }
dl { margin: 0.6rem 0; }
dl div { display: grid; grid-template-columns: min(14rem, 33%) 1fr; gap: 0 1rem;
  padding: 0.25rem 0; border-bottom: 1px solid var(--rule); }
dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
.columns dl div { display: flex; flex-wrap: wrap; }
.columns dt { flex: 0 0 13.5rem; }
.scroll { overflow-x: auto; margin: 0.6rem 0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.9rem 0.35rem 0;
  border-bottom: 1px solid var(--rule); }
.signature { display: block; color: var(--muted); }
th { color: var(--muted); font-size: 0.875rem; font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
code { font: 0.875em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere; }
pre { background: var(--panel); border-radius: 0.5rem; padding: 0.7rem 0.9rem; margin: 0.6rem 0;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.sample { border-left: 3px solid var(--rule); padding: 0.1rem 0 0.1rem 0.8rem; margin: 1rem 0; }
.sample p { margin: 0.15rem 0; }
@media print { main { max-width: none; } figure, pre, tr { break-inside: avoid; } }
"""
