// Curves as pictures: the server says where points and ticks lie, as shares of width and height.
const SVG = "http://www.w3.org/2000/svg";
const WIDE = 560, HIGH = 260, LEFT = 52, RIGHT = 10, TOP = 12, BOTTOM = 24;

function part(tag, props, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const across = share => LEFT + share * (WIDE - LEFT - RIGHT);
const down = share => TOP + share * (HIGH - TOP - BOTTOM);

/** The first curve stands out, beside classes by the colour of the text; a second one alone is muted. */
const kind = (at, count) => (at === 0 ? (count > 2 ? "curve mean" : "curve first") : count === 2 ? "curve second" : "curve");

export function drawPlot(plot) {
  const { curves } = plot;
  const grid = plot.y.map(({ at, text }) => [
    part("line", { x1: LEFT, x2: WIDE - RIGHT, y1: down(at), y2: down(at), class: "grid" }),
    part("text", { x: LEFT - 6, y: down(at) + 4, "text-anchor": "end" }, text)]);
  const steps = plot.x.map(({ at, text }) => part("text", { x: across(at), y: HIGH - 6, "text-anchor": at > 0.95 ? "end" : "middle" }, text));
  const lines = curves.map((one, at) => {
    const points = one.points.map(([x, y]) => `${across(x).toFixed(1)},${down(y).toFixed(1)}`).join(" ");
    const look = { class: kind(at, curves.length), ...(curves.length > 2 && at ? { stroke: one.colour } : {}) };
    const [x, y] = one.points.at(-1) ?? [0, 0];
    return one.points.length === 1 ? part("circle", { cx: across(x), cy: down(y), r: 3, ...look }) : part("polyline", { points, ...look });
  }).reverse();
  return part("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": `${plot.title}; ${plot.last}`, class: "chart" },
    ...(curves.length ? [...grid.flat(), ...steps, ...lines] : [part("text", { x: LEFT, y: HIGH / 2 }, "Nothing has been logged yet.")]));
}

/** The names of a plot's curves, in their colours. */
export function namesOf(plot, h) {
  return plot.curves.map((one, at) => {
    const swatch = h("span", { class: `swatch ${kind(at, plot.curves.length)}` });
    if (plot.curves.length > 2 && at) swatch.style.background = one.colour;
    return h("li", {}, swatch, one.name);
  });
}
