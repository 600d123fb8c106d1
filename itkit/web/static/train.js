// A training while it runs: curves and pictures of its folder. Nothing is changed.
import { address, get } from "./api.js";
import { pick } from "./browser.js";
import { drawPlot, namesOf } from "./curves.js";
import { fill, h } from "./dom.js";

const LOOK_MS = 2000;

export async function trainPage(path) {
  if (!path) return startPage();
  const state = h("p", { class: "muted", id: "train-state", role: "status" });
  const plots = h("div", { class: "plots" });
  const list = h("ul", { class: "pictures" });
  const none = h("p", { class: "muted" }, "No picture yet: itkit train draws some after a validation.");
  const large = h("img", { id: "picture", hidden: true });
  const shown = new Map();
  let chosen = null;
  const source = one => `${address("/api/file", { path: one.path })}&stamp=${one.stamp}`;
  const choose = one => {
    chosen = one.path;
    large.hidden = false;
    large.src = source(one);
    large.alt = `Overlay of ${one.name}`;
  };
  const draw = found => {
    state.textContent = found.state;
    fill(plots, found.plots.map(plot => h("figure", {}, h("figcaption", {}, h("b", {}, plot.title), h("ul", { class: "names" }, namesOf(plot, h))), drawPlot(plot))));
    none.hidden = found.pictures.length > 0;
    for (const one of found.pictures) {
      if (shown.get(one.path)?.stamp === one.stamp) continue;
      const button = shown.get(one.path)?.button ?? h("button", { type: "button", class: "picture-button" });
      fill(button, h("img", { src: source(one), alt: "", width: 96 }), h("span", {}, one.name));
      button.onclick = () => choose(one);
      if (!shown.has(one.path)) list.append(h("li", {}, button));
      shown.set(one.path, { stamp: one.stamp, button });
      if (chosen === null || chosen === one.path) choose(one);
    }
  };
  const look = async () => draw(await get("/api/training", { path }));
  await look();
  const timer = setInterval(async () => { if (!document.hidden) try { await look(); } catch { /* next time */ } }, LOOK_MS);
  const element = h("div", {}, h("p", {}, h("a", { href: "#/train" }, "← Trainings")), h("h1", {}, path.split("/").pop()), state, plots,
    h("section", {}, h("h2", {}, "Pictures of validation cases"), none, h("div", { class: "overlays" }, list, large)));
  return { element, title: "Training", leave: () => clearInterval(timer) };
}

async function startPage() {
  const tools = (await get("/api/operations")).filter(one => one.is_tool);
  const element = h("div", {}, h("h1", {}, "Training"),
    h("p", {}, "Plan a training, run it, and watch its curves and pictures. A run goes on when this page is closed."),
    h("ul", { class: "choices" }, tools.map(one => h("li", {}, h("a", { href: `#/op/${encodeURIComponent(one.name)}`, class: "choice" },
      h("b", {}, one.title), h("span", { class: "muted" }, one.summary))))),
    h("div", { class: "row" }, h("button", { type: "button", class: "first", id: "watch", onclick: async () => {
      const found = await pick({ file: false });
      if (found !== null) location.hash = `#/train/${found.split("/").map(encodeURIComponent).join("/")}`;
    } }, "Watch a run …")));
  return { element, title: "Training" };
}
