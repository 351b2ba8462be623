"""Document -> one HTML file that needs nothing else: no script, no font, no picture from outside; wide and narrow, light and
dark (the reader's own setting), on paper too. Standard library, and the SVGs of palette.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from analysis.document import Bullets, Code, Document, Heading, Item, Paragraph, Picture, Table
from analysis.palette import DARK, LIGHT, STAND_IN, svg


def page(document: Document) -> str:
    """The whole file."""
    body = "\n".join(_item(item) for item in document.items)
    return _PAGE.format(title=escape(document.title), about=_inline(document.about), style=_style(), body=body)


def _item(item: Item) -> str:
    if isinstance(item, Heading):
        return f'<h{item.level} id="{_anchor(item.text)}">{_inline(item.text)}</h{item.level}>'
    if isinstance(item, Paragraph):
        return f'<p class="{item.kind}">{_inline(item.text)}</p>' if item.kind else f"<p>{_inline(item.text)}</p>"
    if isinstance(item, Bullets):
        return _bullets(item)
    if isinstance(item, Code):
        return f"<pre><code>{escape(item.text)}</code></pre>"
    if isinstance(item, Table):
        return _table(item)
    return _picture(item)


def _bullets(item: Bullets) -> str:
    seen = item.items if not item.folded or len(item.items) <= item.folded + 2 else item.items[: item.folded]
    rest = item.items[len(seen) :]
    html = f"<ul>{''.join(f'<li>{_inline(text)}</li>' for text in seen)}</ul>"
    if rest:
        more = "".join(f"<li>{_inline(text)}</li>" for text in rest)
        html += f"<details><summary>{len(rest)} more</summary><ul>{more}</ul></details>"
    return html


def _table(item: Table) -> str:
    def cells(row: tuple[str, ...], tag: str) -> str:
        return "".join(f"<{tag}{' class=n' if i in item.numeric else ''}>{_inline(cell)}</{tag}>" for i, cell in enumerate(row))

    rows = "".join(f"<tr{' class=strong' if i in item.strong else ''}>{cells(row, 'td')}</tr>" for i, row in enumerate(item.rows))
    html = f'<div class="scroll"><table><thead><tr>{cells(item.head, "th")}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f"<details><summary>{_inline(item.folded)}</summary>{html}</details>" if item.folded else html


def _picture(item: Picture) -> str:
    wide, narrow = (svg(item.draw(STAND_IN, wide), f"{item.name}-{'w' if wide else 'n'}") for wide in (True, False))
    return (
        f'<figure><div class="wide">{wide}</div><div class="narrow">{narrow}</div>'
        f"<figcaption>{_inline(item.caption)}</figcaption></figure>"
    )


def _inline(text: str) -> str:
    html = escape(text)
    html = re.sub(r"`([^`]*)`", r"<code>\1</code>", html)
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html)


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _style() -> str:
    def variables(theme: Mapping[str, str]) -> str:
        return "".join(f"--{role}:{colour};" for role, colour in theme.items())

    return _CSS.replace("LIGHT", variables(LIGHT)).replace("DARK", variables(DARK))


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="about">{about}</p>
{body}
</main>
</body>
</html>
"""

_CSS = """
:root{LIGHT--soft:#f4f6f8;
--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{DARK--soft:#1e2226}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 var(--sans);-webkit-text-size-adjust:100%}
main{max-width:900px;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.55rem;line-height:1.2;margin:0 0 .2rem;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.6rem 0 .6rem;padding-top:1.1rem;border-top:1px solid var(--grid)}
h3{font-size:1rem;margin:1.8rem 0 .4rem}
p{margin:.5rem 0}
.about,.note,figcaption{color:var(--muted);font-size:.875rem}
.about{margin:0 0 1.1rem}
.lead{font-size:1.08rem;line-height:1.5;margin:.55rem 0}
.state{border-left:4px solid var(--anchor);background:var(--soft);padding:.55rem .9rem;margin:0 0 1rem}
figure{margin:1.1rem 0}
figure svg{display:block;width:100%;height:auto}
figcaption{margin-top:.4rem}
.narrow{display:none}
code{font:.88em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--soft);
padding:.08em .3em;border-radius:3px;overflow-wrap:anywhere}
pre{background:var(--soft);padding:.7rem .9rem;border-radius:5px;overflow-x:auto;margin:.6rem 0}
pre code{background:none;padding:0;overflow-wrap:normal}
ul{margin:.4rem 0;padding-left:1.2rem}
details{margin:.4rem 0}
summary{cursor:pointer;color:var(--found);font-size:.92rem}
.scroll{overflow-x:auto;margin:.7rem 0}
table{border-collapse:collapse;font-size:.88rem;width:100%;font-variant-numeric:tabular-nums}
th{text-align:left;color:var(--muted);font-weight:600;vertical-align:bottom}
th,td{padding:.32rem .7rem .32rem 0;border-bottom:1px solid var(--grid)}
td{vertical-align:top}
.n{text-align:right}
td.n{white-space:nowrap}
.strong td:not(.n){font-weight:650}
td:not(.n):nth-child(-n+2){white-space:nowrap}
@media (max-width:600px){main{padding:1.2rem 1rem 3rem}
.wide{display:none}.narrow{display:block}.lead{font-size:1rem}h1{font-size:1.3rem}}
@media print{details>*{display:block}main{max-width:none}}
"""
