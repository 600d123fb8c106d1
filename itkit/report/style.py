"""The look of all pages: one style sheet, light and dark, and the script that sorts tables. Neither needs a network."""

from __future__ import annotations

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "paper": "#fbfcfe",
    "card": "#ffffff",
    "ink": "#1b2330",
    "muted": "#566174",
    "line": "#dbe1ea",
    "soft": "#eff3f9",
    "accent": "#1d62a8",
    "accent-soft": "#cfe1f5",
    "bad": "#b3261e",
    "bad-soft": "#fcebe9",
}
DARK: Mapping[str, str] = {
    "paper": "#12161d",
    "card": "#181e27",
    "ink": "#e5e9f0",
    "muted": "#9ba6b7",
    "line": "#2d3643",
    "soft": "#1f2733",
    "accent": "#84b6f4",
    "accent-soft": "#27425f",
    "bad": "#ff9b92",
    "bad-soft": "#3b2022",
}
"""The colours of pages and windows, light and dark."""


def variables(colours: Mapping[str, str]) -> str:
    """Return colours as variables of a style sheet.

    Examples
    --------
    >>> variables({"ink": "#000", "bad": "#f00"})
    '--ink: #000; --bad: #f00'
    """
    return "; ".join(f"--{name}: {value}" for name, value in colours.items())


STYLE = (
    f"""
:root {{ color-scheme: light dark; {variables(LIGHT)}; --heat: 29 98 168 }}
@media (prefers-color-scheme: dark) {{ :root {{ {variables(DARK)}; --heat: 100 165 240 }} }}
"""
    + """\
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body { font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; margin: 0 auto; max-width: 80rem;
  padding: 1.5rem clamp(.9rem, 3vw, 2rem) 4rem; background: var(--paper); color: var(--ink) }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.25 }
h2 { margin: 2.4rem 0 .6rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; font-size: 1.25rem }
h1, h2, h3, p, summary { overflow-wrap: anywhere }
h3 { margin: 1.4rem 0 .3rem; font-size: 1.02rem }
p { max-width: 60rem }
a { color: var(--accent) }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .8rem 0 0; font-size: .92em }
.muted, figcaption, .note { color: var(--muted) }
.note { font-size: .9em }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; padding: 0; list-style: none }
.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .5rem .9rem }
.tiles b { display: block; font-size: 1.3rem; line-height: 1.3; font-variant-numeric: tabular-nums }
.tiles .bad b { color: var(--bad) }
.scroll { overflow: auto; max-width: 100%; max-height: 40rem; margin: .5rem 0; border: 1px solid var(--line);
  border-radius: 8px; background: var(--card) }
table { border-collapse: separate; border-spacing: 0; width: 100% }
caption { text-align: left; padding: .4rem .7rem; color: var(--muted); font-size: .9em }
th, td { text-align: left; padding: .34rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top;
  max-width: 30rem; overflow-wrap: break-word }
tbody tr:last-child td { border-bottom: 0 }
thead th { position: sticky; top: 0; z-index: 1; background: var(--soft); font-size: .88em; vertical-align: bottom }
th button { font: inherit; color: inherit; background: none; border: 0; margin: 0; padding: 0; text-align: inherit;
  cursor: pointer }
th button::after { content: " \\2195"; color: var(--muted); opacity: .6 }
th[aria-sort=ascending] button::after { content: " \\2191"; opacity: 1 }
th[aria-sort=descending] button::after { content: " \\2193"; opacity: 1 }
td.n, th.n { text-align: right }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap }
tr.bad td { background: var(--bad-soft) }
code { background: var(--soft); padding: .1rem .3rem; border-radius: 4px; font-size: .9em; overflow-wrap: anywhere }
pre { background: var(--soft); padding: .6rem .8rem; border-radius: 8px; overflow: auto; font-size: .85em;
  line-height: 1.6 }
summary { cursor: pointer; color: var(--muted) }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; align-items: flex-start; margin: .6rem 0 }
figure { margin: 0; max-width: 100% }
figcaption { font-size: .87em; margin-top: .25rem; max-width: 32rem; overflow-wrap: anywhere }
.slice { min-width: 8rem }
.slice img { display: block; max-width: 100%; height: auto; background: #000; border-radius: 4px }
.view { position: relative; display: inline-block; max-width: 100% }
.view span { position: absolute; font: 600 12px/1 system-ui, sans-serif; color: #fff;
  text-shadow: 0 0 3px #000, 0 0 3px #000; pointer-events: none }
.view .l { left: 5px; top: calc(50% - 6px) } .view .r { right: 5px; top: calc(50% - 6px) }
.view .t { top: 5px; left: calc(50% - 4px) } .view .b { bottom: 5px; left: calc(50% - 4px) }
.plot { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .5rem .6rem;
  min-width: 0 }
.cards:has(> .plot) { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)) }
.plot .scroll { border: 0; margin: 0; max-height: none }
.plot svg { display: block; width: 100%; height: auto }
.plot .scroll svg { max-width: none }
svg text { fill: var(--ink); font: 12px system-ui, -apple-system, "Segoe UI", sans-serif }
svg .halo { paint-order: stroke; stroke: var(--card); stroke-width: 3px }
svg .muted { fill: var(--muted) } svg .title { font-weight: 600 }
svg .grid { stroke: var(--line); stroke-width: 1 } svg .axis { stroke: var(--muted); stroke-width: 1 }
svg .fill { fill: var(--accent) } svg .soft { fill: var(--accent-soft); stroke: var(--accent) }
svg .mark { stroke: var(--bad); stroke-width: 1.5; fill: none } svg .line { stroke: var(--accent); fill: none }
svg .dash { stroke-dasharray: 5 4 } svg .dot { fill: var(--accent); fill-opacity: .75 } svg .far { fill: var(--bad) }
svg .box { stroke: var(--ink); stroke-width: 1; fill-opacity: .35 } svg .whisker { stroke: var(--ink); stroke-width: 1 }
.key { display: flex; flex-wrap: wrap; gap: .15rem 1rem; margin: .4rem 0; padding: 0; list-style: none }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px;
  box-shadow: 0 0 0 1px var(--muted) }
@media (max-width: 45rem) { .cards { gap: .5rem } .slice.small { min-width: 0; max-width: calc(50% - .25rem) }
  table { width: max-content; min-width: 100% } td, caption { max-width: 17rem } }
@media print { .scroll { max-height: none; overflow: visible } thead th { position: static } }
"""
)
"""The style sheet; colours are variables, so that both themes use the same rules."""

SORTING = """
for (const table of document.querySelectorAll("table.sorts")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const key = (row, at) => { const cell = row.cells[at]; return cell.dataset.key ?? cell.textContent.trim() };
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map(row => [key(row, at), row]);
      const empty = text => text === "" || text === "\\u2013";
      const number = text => Number(text.replace(/^(-?)inf$/, "$1Infinity"));
      const numeric = rows.every(([text]) => empty(text) || !Number.isNaN(number(text)));
      rows.sort(([a], [b]) => {
        if (empty(a) || empty(b)) return empty(a) - empty(b);
        const order = numeric ? number(a) - number(b) || 0 : a.localeCompare(b, undefined, { numeric: true });
        return up ? order : -order;
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
"""
"""The script that makes tables sort: it turns the words in a head into buttons; without it a table is as readable."""
