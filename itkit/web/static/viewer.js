// The viewer: three linked planes of a volume, labels, before and after, geometry of both.
import { Problem, address, get } from "./api.js";
import { pick } from "./browser.js";
import { fill, h, later, save, tell } from "./dom.js";
import { PlaneView, classTable, greyTable } from "./plane.js";
import { Volume, indexOf } from "./volume.js";

const number = (value, digits = 1) => Number(value.toFixed(digits)).toString();

class Scene {
  constructor(base, onChange) {
    this.base = base;
    this.at = base.size.map(size => Math.floor(size / 2));
    this.zoom = 1;
    this.swipe = 0.5;
    this.layers = { base: null, label: null, after: null };
    this.names = ["before", "after"];
    this.hasCross = true;
    this.isMeasuring = false;
    this.line = null;
    this.views = [];
    this.onChange = onChange;
    this.refine = later(150, () => this.fetchFine());
  }

  redraw() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => { this.isAsked = false; for (const view of this.views) view.draw(); });
  }

  goTo(index) { this.at = index; this.changed(); }

  move(axis, value) { this.at = this.at.map((old, own) => (own === axis ? value : old)); this.changed(); }

  step(axis, by) { this.move(axis, Math.max(0, Math.min(this.base.size[axis] - 1, this.at[axis] + by))); }

  changed() { this.redraw(); this.onChange(); this.refine(); }

  setZoom(zoom) { this.zoom = Math.max(1, Math.min(12, zoom)); this.redraw(); }

  setSwipe(share) { this.swipe = Math.max(0.02, Math.min(0.98, share)); this.onSwipe?.(this.swipe); this.redraw(); }

  shiftWindow(x, y) {
    const layer = this.layers.base, range = layer.volume.facts.high - layer.volume.facts.low || 1;
    const width = Math.max(range / 4096, layer.high - layer.low + x * range / 800);
    const level = (layer.high + layer.low) / 2 - y * range / 800;
    this.setWindow(level - width / 2, level + width / 2);
  }

  setWindow(low, high) {
    for (const layer of [this.layers.base, this.layers.after]) {
      if (!layer || layer.isLabel || !layer.volume.facts) continue;
      Object.assign(layer, { low, high, table: greyTable(layer.volume.facts, low, high), version: (layer.version ?? 0) + 1 });
    }
    this.redraw();
    this.onChange();
  }

  startLine(plane, pixel) { this.line = { plane, slice: this.at[plane.across], pixels: [pixel, pixel], mm: 0 }; this.redraw(); }

  moveLine(pixel) {
    this.line.pixels = [this.line.pixels[0], pixel];
    const [a, b] = this.line.pixels.map(([row, column]) => this.base.point(indexOf(this.base, this.line.plane, this.at, row, column)));
    this.line.mm = Math.hypot(...a.map((value, axis) => value - b[axis]));
    this.redraw();
  }

  async fetchFine() {
    if (this.base.isWhole !== false) return;
    for (const { plane, projects } of this.views) {
      if (projects) continue;
      const index = this.at[plane.across];
      try {
        if (await this.base.refine(plane.across, index) && index === this.at[plane.across]) {
          this.layers.base.version += 1;
          this.redraw();
        }
      } catch { /* the coarser picture stays */ }
    }
  }
}

export async function viewPage(_, query) {
  const path = query.get("path");
  if (!path) return emptyPage();
  const stopper = new AbortController(), { signal } = stopper;
  const series = query.get("series") ?? undefined;
  let opened;
  try {
    opened = await Volume.open(path, signal, series);
  } catch (problem) {
    const found = problem instanceof Problem && problem.status === 422 && !series ? await seriesIn(path, signal) : null;
    if (found?.series.length > 1) return choicePage(path, found);
    throw problem;
  }
  // of a label with an image beside it, the image is what lies below
  const partners = opened.geometry.partners ?? {};
  const isLabel = opened.geometry.kind === "label";
  const base = isLabel && partners.image ? await Volume.open(partners.image, signal) : opened;
  let labelPath = query.get("label") ?? (isLabel ? (base === opened ? "" : path) : partners.label ?? "");
  const beforePath = query.get("before");

  const status = h("p", { class: "muted", role: "status", id: "loading" }, "Loading …");
  const readout = h("p", { id: "readout" });
  const legend = h("div", { id: "legend" });
  const scene = new Scene(base, () => drawReadout());
  scene.views = base.geometry.planes.map(plane => new PlaneView(scene, plane));
  const front = base.geometry.planes.find(one => one.plane === "coronal");
  if (base.geometry.kind !== "label") scene.views.push(new PlaneView(scene, front, true));
  const planes = h("div", { class: "planes", id: "planes" }, scene.views.map(view => view.element));
  let label = null, after = null, classes = [], isOutline = false, opacity = 0.45;

  const drawReadout = () => {
    const point = base.point(scene.at), value = base.value(scene.at);
    const parts = [`voxel Z Y X: ${scene.at.join(" ")}`, `LPS: ${point.map(one => number(one)).join(" ")} mm`];
    if (value !== null) parts.push(`${base.isLabel ? "class" : "value"}: ${number(value, 3)}`);
    if (after?.data) { const other = after.value(after.index(point)); parts.push(`before: ${other === null ? "outside" : number(other, 3)}`); }
    if (label?.data) {
      const own = label.value(label.index(point));
      const name = classes.find(one => one.value === own)?.name;
      parts.push(own ? `label: ${own}${name ? ` ${name}` : ""}` : "label: none");
    }
    fill(readout, parts.map(part => h("span", {}, part)));
    const layer = scene.layers.base;
    if (layer && !layer.isLabel) {
      level.value = number((layer.low + layer.high) / 2, 2);
      width.value = number(layer.high - layer.low, 2);
    }
  };
  const colourLabels = () => {
    const layer = scene.layers.label ?? (base.isLabel ? scene.layers.base : null);
    if (!layer) return;
    const own = layer === scene.layers.base ? 1 : isOutline ? 1 : opacity;
    Object.assign(layer, { table: classTable(classes, own), isOutline: isOutline && layer !== scene.layers.base, version: (layer.version ?? 0) + 1 });
    scene.redraw();
  };
  const drawLegend = volume => {
    const names = volume.geometry.labels ?? {};
    classes = Object.entries(volume.facts.classes ?? {}).map(([value, count]) => ({
      value: Number(value), count, name: names[value]?.name ?? "", isShown: true,
      colour: names[value]?.colour ?? volume.facts.colours[value],
    }));
    const rows = classes.map(one => {
      const swatch = h("span", { class: "swatch" });
      swatch.style.background = `rgb(${one.colour.join(",")})`;
      const box = h("input", { type: "checkbox", checked: true, onchange: () => { one.isShown = box.checked; colourLabels(); } });
      const ml = one.count * volume.spacing.reduce((a, b) => a * b, 1) / 1000;
      return h("li", {}, h("label", {}, box, swatch, `${one.value} ${one.name}`), h("span", { class: "muted" }, `${number(ml)} ml`));
    });
    const outlined = h("input", { type: "checkbox", id: "outline", onchange: () => { isOutline = outlined.checked; colourLabels(); } });
    const strength = h("input", { type: "range", min: 0, max: 1, step: 0.05, value: opacity, "aria-label": "Opacity of labels", oninput: () => { opacity = Number(strength.value); colourLabels(); } });
    fill(legend, h("h2", {}, "Labels"), classes.length ? [h("label", { class: "tick" }, outlined, " outlines"), h("label", {}, "Opacity ", strength), h("ul", { class: "classes" }, rows)]
      : h("p", { class: "muted" }, "This label map is empty."));
  };

  const level = h("input", { type: "text", class: "number", inputmode: "decimal", "aria-label": "Window level", onchange: () => typed() });
  const width = h("input", { type: "text", class: "number", inputmode: "decimal", "aria-label": "Window width", onchange: () => typed() });
  const typed = () => {
    const [middle, wide] = [Number(level.value), Number(width.value)];
    if (Number.isFinite(middle) && wide > 0) scene.setWindow(middle - wide / 2, middle + wide / 2);
  };
  const presets = h("select", { id: "window", "aria-label": "Window preset", onchange: () => {
    const [low, high] = JSON.parse(presets.value);
    scene.setWindow(low, high);
  } });
  const drawPresets = () => {
    const { window, low, high } = base.facts;
    const options = [[window.name, [window.low, window.high]], ["all values", [low, high]], ...Object.entries(base.geometry.windows)];
    fill(presets, options.map(([name, pair]) => h("option", { value: JSON.stringify(pair) }, name)));
  };
  const windowBox = h("div", { class: "row" }, h("label", {}, "Window ", presets), h("label", {}, "Level ", level), h("label", {}, "Width ", width));
  const toggle = (text, id, on, isOn = false) => {
    const button = h("button", { type: "button", id, "aria-pressed": String(isOn), onclick: () => {
      const now = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(now));
      on(now);
    } }, text);
    return button;
  };
  const open = async (title, key) => {
    const found = await pick({ file: true, start: path.split("/").slice(0, -1).join("/") });
    if (found !== null) location.hash = address("#/view", { path, series, label: labelPath || undefined, before: beforePath ?? undefined, [key]: found });
  };
  const swipe = h("input", { type: "range", min: 2, max: 98, value: 50, id: "swipe", "aria-label": "Swipe between before and after", oninput: () => scene.setSwipe(Number(swipe.value) / 100) });
  const swipeBox = h("label", { hidden: true }, "Before ", swipe, " after");
  scene.onSwipe = share => { swipe.value = Math.round(100 * share); };
  const tools = h("div", { class: "row tools", role: "toolbar", "aria-label": "Viewer" },
    windowBox,
    toggle("Crosshair", "cross", on => { scene.hasCross = on; scene.redraw(); }, true),
    toggle("Measure", "measure", on => { scene.isMeasuring = on; if (!on) scene.line = null; scene.redraw(); }),
    h("button", { type: "button", onclick: () => { scene.zoom = 1; scene.goTo(base.size.map(size => Math.floor(size / 2))); } }, "Reset"),
    swipeBox,
    h("button", { type: "button", id: "open-label", onclick: () => open("label", "label") }, "Label …"),
    h("button", { type: "button", id: "open-before", onclick: () => open("before", "before") }, "Compare …"),
    h("button", { type: "button", id: "show-3d", onclick: () => toggle3d() }, "3-D"),
    h("button", { type: "button", id: "screenshot", onclick: () => screenshot(scene, opened.geometry.name) }, "Screenshot"));
  const toggle3d = async () => {
    const old = planes.querySelector("[data-plane=rendering]");
    if (old) { old.remove(); return; }
    if (!base.data || base.isLabel) { tell("A 3-D view needs an image that has been loaded.", true); return; }
    const { rendering } = await import("./rendering.js");
    const layer = scene.layers.after ?? scene.layers.base;
    planes.append(await rendering(base, layer, label, classes));
  };
  const geometryBox = h("div", { id: "geometry" });
  const notesOn = (volume, prefix = "") => volume.geometry.warnings.map(text => h("p", { class: "note" }, prefix + text));
  const drawGeometry = () => fill(geometryBox, after ? notesOn(after, `${after.geometry.name}: `) : null, geometryTable(base, after));
  const element = h("div", { class: "viewer" },
    h("div", { class: "heading" }, h("h1", {}, base.geometry.name), status), tools,
    h("div", { class: "stagebox" }, planes, h("aside", {}, readout,
      base.geometry.is_oblique ? h("p", { class: "note" }, "Oblique grid: the planes are those of its voxels, closest to the patient’s.") : null,
      notesOn(base), legend, geometryBox)),
    h("p", { class: "note" }, "Drag: crosshair · shift or right drag: window · wheel: slices · ctrl and wheel: zoom · arrows and page keys on a plane"));

  const begun = performance.now();
  const loadAll = async () => {
    const kind = base.geometry.kind === "label" ? "label" : "image";
    await base.load(kind, {
      signal,
      onPart: (at, part) => { status.textContent = `Loading ${at ? "a coarser picture" : "all voxels"}: ${Math.round(100 * part)} %`; },
      onLevel: () => {
        const isFirst = !scene.layers.base;
        if (isFirst) {
          scene.layers.base = { volume: base, isLabel: base.isLabel, version: 0 };
          if (base.isLabel) { drawLegend(base); colourLabels(); windowBox.hidden = true; } else { drawPresets(); scene.setWindow(base.facts.window.low, base.facts.window.high); }
          element.dataset.firstMs = Math.round(performance.now() - begun);
        } else if (base.isLabel) colourLabels();
        else scene.setWindow(scene.layers.base.low, scene.layers.base.high);
        scene.changed();
      },
    });
    if (labelPath) {
      status.textContent = "Loading the label …";
      label = await Volume.open(labelPath, signal);
      await label.load("label", { signal });
      scene.layers.label = { volume: label, isLabel: true, version: 0 };
      drawLegend(label);
      colourLabels();
    }
    if (beforePath) {
      status.textContent = "Loading the volume to compare with …";
      after = await Volume.open(beforePath, signal);
      await after.load(kind, { signal });
      // what was before lies left of the swipe: the base is the result, and is drawn right of it
      const layer = scene.layers.base;
      scene.layers.after = { ...layer };
      scene.layers.base = { volume: after, isLabel: after.isLabel, version: 0 };
      if (after.isLabel) scene.layers.base.table = classTable(classes, 1);
      else scene.setWindow(layer.low, layer.high);
      swipeBox.hidden = false;
      drawGeometry();
    }
    status.textContent = base.isWhole ? "" : "Large volume: single slices are loaded in full.";
    scene.changed();
    requestAnimationFrame(() => { element.dataset.ready = "true"; });  // after the frame that draws the labels
    if (!base.isLabel) {
      await base.project(front.across, signal);
      scene.redraw();
      requestAnimationFrame(() => { element.dataset.projected = "true"; });
    }
  };
  drawGeometry();
  drawReadout();
  return {
    element,
    title: opened.geometry.name,
    shown: () => { scene.redraw(); loadAll().catch(error => { if (error.name !== "AbortError") { status.textContent = error.message; status.className = "problem"; } }); },
    leave: () => stopper.abort(),
  };
}

/** The DICOM series of a folder; null if it is none. */
async function seriesIn(path, signal) {
  try { return await get("/api/series", { path }, signal); } catch (problem) { if (problem.name === "AbortError") throw problem; return null; }
}

/** A folder with several series: the reader chooses one. */
function choicePage(path, found) {
  const name = path.split("/").pop() || path;
  const rows = found.series.map(one => h("tr", {},
    h("td", {}, h("a", { href: address("#/view", { path, series: one.key }) }, one.description || (one.number === null ? "without description" : `series ${one.number}`))),
    h("td", {}, one.modality || "–"), h("td", { class: "n" }, one.number ?? "–"), h("td", { class: "n" }, one.slices)));
  const element = h("div", {}, h("h1", {}, name), h("p", {}, `This folder holds ${found.series.length} DICOM series. Which one do you want to see?`),
    found.note ? h("p", { class: "note" }, found.note) : null,
    h("div", { class: "scroll" }, h("table", { id: "series", class: "stacks" },
      h("thead", {}, h("tr", {}, h("th", {}, "Description"), h("th", {}, "Modality"), h("th", { class: "n" }, "Number"), h("th", { class: "n" }, "Slices"))),
      h("tbody", {}, rows))));
  return { element, title: name };
}

/** The grid of a volume; beside it that of another one, with differences marked. */
function geometryTable(base, other) {
  const rows = [
    ["Size Z Y X", volume => volume.size.join(" × ")],
    ["Spacing Z Y X, mm", volume => volume.spacing.map(one => number(one, 4)).join(" × ")],
    ["Extent Z Y X, mm", volume => volume.geometry.extent_zyx.map(one => number(one)).join(" × ")],
    ["Origin X Y Z, mm", volume => volume.geometry.origin_xyz.map(one => number(one, 3)).join(" ")],
    ["Axes point to", volume => volume.geometry.orientation],
    ["Direction", volume => [0, 3, 6].map(at => volume.geometry.direction_xyz.slice(at, at + 3).map(one => number(one, 4)).join(" ")).join("; ")],
    ["Voxels", volume => volume.geometry.dtype],
  ];
  return [h("h2", {}, "Geometry"), h("div", { class: "scroll" }, h("table", { id: "geometry-table" },
    other ? h("thead", {}, h("tr", {}, h("th", {}), h("th", {}, "after"), h("th", {}, "before"))) : null,
    h("tbody", {}, rows.map(([name, read]) => {
      const differs = other && read(base) !== read(other);
      return h("tr", { class: differs ? "differs" : null }, h("th", { scope: "row" }, name), h("td", {}, read(base)), other ? h("td", {}, read(other)) : null);
    }))))];
}

function screenshot(scene, name) {
  const canvases = scene.views.map(view => view.canvas);
  const picture = document.createElement("canvas");
  picture.width = canvases.reduce((sum, one) => sum + one.width, 0);
  picture.height = Math.max(...canvases.map(one => one.height));
  const context = picture.getContext("2d");
  context.fillRect(0, 0, picture.width, picture.height);
  let left = 0;
  for (const one of canvases) { context.drawImage(one, left, 0); left += one.width; }
  picture.toBlob(blob => save(`${name}.png`, blob));
  tell("The three planes are saved as one picture.");
}

function emptyPage() {
  const element = h("div", {}, h("h1", {}, "Viewer"), h("p", {}, "Open a volume: MetaImage, NIfTI or NRRD, or a folder of DICOM series."),
    h("div", { class: "row" },
      h("button", { type: "button", class: "first", onclick: async () => {
        const found = await pick({ file: true });
        if (found !== null) location.hash = address("#/view", { path: found });
      } }, "Open a file …"),
      h("button", { type: "button", onclick: async () => {
        const found = await pick({ file: false });
        if (found !== null) location.hash = address("#/view", { path: found });
      } }, "Open a DICOM folder …"),
      h("a", { class: "button", href: "#/files" }, "Look through the files")));
  return { element, title: "Viewer" };
}
