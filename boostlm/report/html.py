"""The pieces of HTML that the page is made of, and its one style sheet."""

import re
import textwrap
from collections.abc import Sequence
from html import escape

from boostlm.report import plot_style

CSS = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;color-scheme:light dark}
body{margin:0;background:var(--paper);color:var(--ink);
 font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:56px 24px 72px}
h1,h2,h3,p,figure{margin:0}
h1{font-size:34px;line-height:1.2;letter-spacing:-.01em}
h2{font-size:21px;line-height:1.3;margin:72px 0 20px}
h3{font-size:16px;line-height:1.35;margin-bottom:10px}
h1,.facts,.lead,figcaption,.config td{overflow-wrap:anywhere}
.kicker,.facts,.note,.soft,figcaption,thead th,.lead+.lead{color:var(--muted);font-size:14px}
.kicker{margin-bottom:6px}.facts,.note{margin-top:10px}
.answer,.beside figure{display:grid;grid-template-columns:3fr 2fr;gap:0 64px}
.answer{align-items:center}.answer h2{margin-top:40px}.beside h3{grid-column:1/-1}
.lead{font-size:20px;line-height:1.5}.lead+.lead{font-size:16px;line-height:1.6;margin-top:14px}
.pair{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:44px 64px}
.four{display:grid;grid-template-columns:repeat(auto-fit,minmax(235px,1fr));gap:28px 40px}
.four figure{max-width:300px}
figure{break-inside:avoid;min-width:0}
figcaption{line-height:1.5;margin-top:8px;max-width:62ch}
svg{display:block;width:100%;height:auto;overflow:visible;stroke-linejoin:round}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:7px 0 7px 22px;white-space:nowrap;font-weight:400}
th:first-child,td:first-child{text-align:left;padding-left:0}
thead th{line-height:1.3;vertical-align:bottom}thead th,.soft{font-size:13px}
tbody tr{border-top:1px solid var(--grid)}
.final{width:100%;margin-top:40px}.final tbody th{font-weight:600}.final .soft{font-weight:400}
.note+.scroll .final{margin-top:14px}h3+.scroll .final{margin-top:0}
.note+.pair{margin-top:20px}.said{margin-top:14px}.note+details{margin-top:20px}
details{border-top:1px solid var(--grid);padding:14px 0}
details:last-of-type{border-bottom:1px solid var(--grid)}
summary{cursor:pointer;font-weight:600}
details .scroll,.config{margin-top:14px;font-size:13px}
details th,details td{padding:3px 0 3px 16px}
.config{columns:3 260px;column-gap:48px}
.config table{width:100%;margin-bottom:14px;break-inside:avoid}.config td+td{white-space:normal}
.config .group{text-align:left;padding:6px 0 3px;font-weight:600}
.config tr tr{border-top:0}.config .nested{padding:0 0 0 14px}.config .nested table{margin:0}
@media (max-width:760px){main{padding:32px 20px 48px}h1{font-size:27px}h2{margin-top:52px}
 .answer,.pair,.four,.beside figure{grid-template-columns:minmax(0,1fr)}.lead{font-size:18px}
 .answer figure{margin-top:28px}.final thead{display:none}
 .final,.final tbody{display:block}.final tr{display:block;padding:10px 0}
 .final th,.final td{display:flex;gap:6px;padding:1px 0;white-space:normal;font-size:15px}
 .final td::before{content:attr(data-name);color:var(--muted);flex:1;text-align:left}}
@media print{main{padding:0;max-width:none}h2{margin-top:36px;break-after:avoid}}
"""


def theme() -> str:
    """The colours as CSS variables; print is light."""
    light = "".join(f"--{name}:{pair[0]};" for name, pair in plot_style.THEME.items())
    dark = "".join(f"--{name}:{pair[1]};" for name, pair in plot_style.THEME.items())
    return f"\n:root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def inline(svg: str, name: str, alt: str) -> str:
    """Makes an SVG file part of the page: themed, and with ids that are its own."""
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)  # meant for all
    opening = re.search(r'<svg[^>]*viewBox="([^"]*)"[^>]*>', svg)
    assert opening is not None
    body = svg[opening.end() :]
    body = re.sub(r' id="(?!m[0-9a-f]{10}")[^"]*"', "", body)  # only markers are referred to
    body = body.replace(' id="m', f' id="{name}-m').replace('xlink:href="#', f'href="#{name}-')
    body = re.sub(r" font-family: [^;\"]*;", "", body)
    for theme_name, (light, _) in plot_style.THEME.items():
        body = body.replace(f": {light}", f": var(--{theme_name})")
    body = re.sub(r"\n\s*", "\n", body)
    return f'<svg viewBox="{opening.group(1)}" role="img" aria-label="{escape(alt)}">{body.strip()}'


def figure(svg: str | None, name: str, title: str, caption: str) -> str:
    """A picture with its title and caption; empty if there is none."""
    if svg is None:
        return ""
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f"<figure>{heading}{inline(svg, name, title or caption)}{words}</figure>"


def section(title: str, figures: list[str], layout: str = "pair", note: str = "") -> str:
    """A titled group of figures; empty if there are none."""
    shown = "\n".join(figure for figure in figures if figure)
    after = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<h2>{escape(title)}</h2>\n<div class="{layout}">\n{shown}\n</div>{after}' if shown else ""
    )


def arm_name(arm: str) -> str:
    """An arm with its mark, in its colour."""
    mark = plot_style.SHAPES[plot_style.marker_of(arm)]
    return f'<span style="color:var(--{plot_style.colour_name(arm)})">{mark}</span> {escape(arm)}'


def broken(title: str) -> str:
    """A column's title on short lines."""
    return "<br>".join(escape(line) for line in textwrap.wrap(title, 14))


def html_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table that a phone shows as a list. The cells are HTML, the first one names the line."""
    titles = "".join(f'<th scope="col">{broken(title)}</th>' for title in head)
    rows = []
    for name, *cells in lines:
        named = zip(head[1:], cells, strict=True)
        shown = "".join(f'<td data-name="{escape(title)}">{cell}</td>' for title, cell in named)
        rows.append(f'<tr><th scope="row">{name}</th>{shown}</tr>')
    return (
        f'<div class="scroll"><table class="final"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def count(n: int, word: str) -> str:
    """Such as 1 seed, 3 seeds."""
    return f"{n:,} {word}{'s' * (n != 1)}"
