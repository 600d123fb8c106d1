// One plane on a canvas: image, labels over it, the result of a run behind a swipe, crosshair and letters.
import { h } from "./dom.js";
import { fromSlice, indexOf, pixelOf, planeSize, slice } from "./volume.js";

const OUTSIDE = -32768;

/** Colours of all 65,536 stored numbers, as the bytes of a pixel: grey by a window, or classes. */
export function greyTable(facts, low, high) {
  const table = new Uint32Array(65536), scale = 255 / (high - low || 1);
  for (let stored = -32768; stored < 32768; stored++) {
    const value = stored * facts.slope + facts.inter;
    const grey = Math.max(0, Math.min(255, Math.round((value - low) * scale)));
    table[stored & 65535] = 0xff000000 | grey << 16 | grey << 8 | grey;
  }
  return table;
}

export function classTable(classes, opacity) {
  const table = new Uint32Array(65536);
  for (const { value, colour, isShown } of classes) {
    if (isShown) table[value & 65535] = Math.round(opacity * 255) << 24 | colour[2] << 16 | colour[1] << 8 | colour[0];
  }
  return table;
}

/** A picture of one layer that is drawn anew when its slice or its colours change. */
class Layer {
  constructor(projects = false) {
    this.projects = projects;
    this.canvas = document.createElement("canvas");
    this.key = "";
  }

  draw(scene, plane, layer, rows, columns) {
    const projection = this.projects ? layer.volume.projections.get(plane.across) : null;
    const key = [layer.volume.geometry.path, layer.version, projection ? "all" : scene.at[plane.across], rows, columns].join("|");
    if (key === this.key) return this.canvas;
    this.key = key;
    if (this.canvas.width !== columns || this.canvas.height !== rows || !this.numbers) {
      this.canvas.width = columns;
      this.canvas.height = rows;
      this.picture = new ImageData(columns, rows);
      this.pixels = new Uint32Array(this.picture.data.buffer);
      this.numbers = new Int16Array(rows * columns);
    }
    const outside = layer.isLabel ? 0 : OUTSIDE;
    if (projection) fromSlice(projection, scene.base, plane, this.numbers);
    else slice(layer.volume, scene.base, plane, scene.at, this.numbers, outside);
    const { numbers, pixels } = this, { table } = layer;
    for (let at = 0; at < numbers.length; at++) pixels[at] = table[numbers[at] & 65535];
    if (layer.isOutline) outline(numbers, pixels, rows, columns);
    this.canvas.getContext("2d").putImageData(this.picture, 0, 0);
    return this.canvas;
  }
}

/** Leave only the outermost pixels of each class, opaque. */
function outline(numbers, pixels, rows, columns) {
  for (let r = 0, at = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++, at++) {
      const own = numbers[at];
      if (!own) continue;
      const isInner = r && c && r < rows - 1 && c < columns - 1
        && numbers[at - 1] === own && numbers[at + 1] === own && numbers[at - columns] === own && numbers[at + columns] === own;
      pixels[at] = isInner ? 0 : pixels[at] && pixels[at] | 0xff000000;
    }
  }
}

export class PlaneView {
  /** `scene` holds what all planes share; it is told of pointers and keys. A view that projects shows the largest values. */
  constructor(scene, plane, projects = false) {
    this.scene = scene;
    this.plane = plane;
    this.projects = projects;
    this.layers = { base: new Layer(projects), label: new Layer(), after: new Layer() };
    this.canvas = h("canvas", { tabindex: "0", role: "img", "aria-roledescription": "slice" });
    this.slider = h("input", { type: "range", min: 0, max: scene.base.size[plane.across] - 1, "aria-label": `${plane.plane} slice`, hidden: projects });
    this.slider.addEventListener("input", () => scene.move(plane.across, Number(this.slider.value)));
    this.caption = h("figcaption", {});
    this.element = h("figure", { class: "plane", "data-plane": projects ? "projection" : plane.plane }, h("div", { class: "stage" }, this.canvas), this.slider, this.caption);
    this.listen();
    new ResizeObserver(() => scene.redraw()).observe(this.canvas.parentElement);
  }

  /** Where the slice lies on the canvas: left, top and pixels a voxel. */
  fit() {
    const { base } = this.scene, [rows, columns] = planeSize(base, this.plane);
    const mmWide = columns * base.spacing[this.plane.column], mmHigh = rows * base.spacing[this.plane.row];
    const scale = Math.min(this.canvas.width / mmWide, this.canvas.height / mmHigh) * this.scene.zoom;
    const wide = mmWide * scale, high = mmHigh * scale;
    let left = (this.canvas.width - wide) / 2, top = (this.canvas.height - high) / 2;
    if (this.scene.zoom > 1) {  // the crosshair stays in sight
      const [row, column] = pixelOf(base, this.plane, this.scene.at);
      left = this.canvas.width / 2 - (column + 0.5) * wide / columns;
      top = this.canvas.height / 2 - (row + 0.5) * high / rows;
    }
    return { left, top, wide, high, rows, columns };
  }

  draw() {
    const { scene, plane, canvas } = this;
    const ratio = window.devicePixelRatio || 1, box = canvas.parentElement;
    const width = Math.max(1, Math.round(box.clientWidth * ratio)), height = Math.max(1, Math.round(box.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const context = canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    const { left, top, wide, high, rows, columns } = this.fit();
    const paint = (name, layer) => {
      if (!layer?.volume.data || (this.projects && !layer.volume.projections.has(plane.across))) return;
      const picture = this.layers[name].draw(scene, plane, layer, rows, columns);
      context.imageSmoothingEnabled = !layer.isLabel;
      context.drawImage(picture, left, top, wide, high);
    };
    paint("base", (this.projects && scene.layers.after) || scene.layers.base);  // of two volumes, the planes are those of the result
    if (scene.layers.after && !this.projects) {
      const edge = Math.round(width * scene.swipe);
      context.save();
      context.beginPath();
      context.rect(edge, 0, width - edge, height);
      context.clip();
      context.fillRect(0, 0, width, height);
      paint("after", scene.layers.after);
      context.restore();
      context.fillStyle = "#fff";
      context.fillRect(edge - ratio, 0, 2 * ratio, height);
      context.beginPath();
      context.arc(edge, 34 * ratio, 7 * ratio, 0, 2 * Math.PI);
      context.fill();
      this.word(context, scene.names[0], Math.max(4, edge - 6 * ratio), height - 26 * ratio, "right");
      this.word(context, scene.names[1], Math.min(width - 4, edge + 6 * ratio), height - 26 * ratio, "left");
    }
    if (!this.projects) paint("label", scene.layers.label);
    const [row, column] = pixelOf(scene.base, plane, scene.at);
    const x = left + (column + 0.5) * wide / columns, y = top + (row + 0.5) * high / rows;
    if (scene.hasCross) {
      context.fillStyle = "rgba(120, 200, 255, .75)";
      const gap = 8 * ratio;
      for (const [from, to] of [[0, x - gap], [x + gap, width]]) context.fillRect(from, y - ratio / 2, Math.max(0, to - from), ratio);
      for (const [from, to] of [[0, y - gap], [y + gap, height]]) context.fillRect(x - ratio / 2, from, ratio, Math.max(0, to - from));
    }
    if (!this.projects) this.measure(context, left, top, wide / columns, high / rows, ratio);
    const [l, r, t, b] = plane.letters, inset = 6 * ratio;
    this.word(context, l, inset, height / 2, "left");
    this.word(context, r, width - inset, height / 2, "right");
    this.word(context, t, width / 2, inset + 12 * ratio, "center");
    this.word(context, b, width / 2, height - inset, "center");
    const at = scene.at[plane.across], count = scene.base.size[plane.across];
    if (this.projects) {
      this.caption.textContent = "maximum-intensity projection";
      canvas.setAttribute("aria-label", "maximum-intensity projection, seen from the front");
      return;
    }
    this.slider.value = at;
    this.caption.textContent = `${plane.plane} · slice ${at + 1} of ${count}`;
    canvas.setAttribute("aria-label", `${plane.plane} plane, slice ${at + 1} of ${count}; arrows move the crosshair, page up and down the slice`);
  }

  word(context, text, x, y, align) {
    const ratio = window.devicePixelRatio || 1;
    context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    context.textAlign = align;
    context.lineWidth = 3 * ratio;
    context.strokeStyle = "rgba(0, 0, 0, .8)";
    context.fillStyle = "#fff";
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  }

  measure(context, left, top, wide, high, ratio) {
    const line = this.scene.line;
    if (!line || line.plane !== this.plane || line.slice !== this.scene.at[this.plane.across]) return;
    const [a, b] = line.pixels.map(([row, column]) => [left + (column + 0.5) * wide, top + (row + 0.5) * high]);
    context.strokeStyle = "#ffd54a";
    context.lineWidth = 2 * ratio;
    context.beginPath();
    context.moveTo(...a);
    context.lineTo(...b);
    context.stroke();
    this.word(context, `${line.mm.toFixed(1)} mm`, b[0] + 8 * ratio, b[1], "left");
  }

  /** The pixel of the slice (row, column; between pixels) under a pointer. */
  pixelAt(event) {
    const box = this.canvas.getBoundingClientRect(), { left, top, wide, high, rows, columns } = this.fit();
    const x = (event.clientX - box.left) * this.canvas.width / box.width, y = (event.clientY - box.top) * this.canvas.height / box.height;
    return [(y - top) / high * rows - 0.5, (x - left) / wide * columns - 0.5];
  }

  listen() {
    const { scene, plane, canvas } = this;
    const goTo = event => {
      const [row, column] = this.pixelAt(event).map(Math.round);
      const index = indexOf(scene.base, plane, scene.at, row, column);
      scene.goTo(index.map((value, axis) => Math.max(0, Math.min(scene.base.size[axis] - 1, value))));
    };
    /** A distance ends at the edge of the slice, where the pointer may have left it. */
    const inSlice = event => this.pixelAt(event).map((value, side) =>
      Math.max(-0.5, Math.min(planeSize(scene.base, plane)[side] - 0.5, value)));
    let drag = null;
    canvas.addEventListener("pointerdown", event => {
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      const box = canvas.getBoundingClientRect();
      const isAtEdge = !this.projects && scene.layers.after && Math.abs((event.clientX - box.left) / box.width - scene.swipe) < 0.03;
      if (isAtEdge) drag = "swipe";
      else if (scene.isMeasuring && !this.projects) drag = "measure";
      else if (event.button === 2 || event.shiftKey) drag = "window";
      else drag = "cross";
      scene.from = [event.clientX, event.clientY];
      if (drag === "cross") goTo(event);
      if (drag === "measure") scene.startLine(plane, inSlice(event));
    });
    canvas.addEventListener("pointermove", event => {
      if (!drag) return;
      if (drag === "cross") goTo(event);
      if (drag === "measure") scene.moveLine(inSlice(event));
      if (drag === "swipe") {
        const box = canvas.getBoundingClientRect();
        scene.setSwipe((event.clientX - box.left) / box.width);
      }
      if (drag === "window") {
        scene.shiftWindow(event.clientX - scene.from[0], event.clientY - scene.from[1]);
        scene.from = [event.clientX, event.clientY];
      }
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { drag = null; });
    canvas.addEventListener("contextmenu", event => event.preventDefault());
    canvas.addEventListener("wheel", event => {
      event.preventDefault();
      if (event.ctrlKey || event.metaKey) scene.setZoom(scene.zoom * (event.deltaY < 0 ? 1.15 : 1 / 1.15));
      else scene.step(plane.across, event.deltaY < 0 ? 1 : -1);
    }, { passive: false });
    canvas.addEventListener("keydown", event => {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      if (event.key in moves) {
        const [rows, columns] = moves[event.key], [row, column] = pixelOf(scene.base, plane, scene.at);
        const index = indexOf(scene.base, plane, scene.at, row + rows, column + columns);
        scene.goTo(index.map((value, axis) => Math.max(0, Math.min(scene.base.size[axis] - 1, value))));
      } else if (event.key === "PageUp") scene.step(plane.across, 1);
      else if (event.key === "PageDown") scene.step(plane.across, -1);
      else if (event.key === "+") scene.setZoom(scene.zoom * 1.25);
      else if (event.key === "-") scene.setZoom(scene.zoom / 1.25);
      else return;
      event.preventDefault();
    });
  }
}
