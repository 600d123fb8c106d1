// The 3-D view, on request: NiiVue (niivue.js; its licence lies beside it) draws the voxels that are already here.
import { fill, h } from "./dom.js";

const MOST_VOXELS = 2 ** 25;
const INT16 = 4, CLASSES = 1002, MM = 2, SCANNER = 1, HEADER = 352;

/** A volume as a NIfTI file: int16 voxels, X fastest, and a matrix from voxels to RAS mm. */
export function nifti(volume) {
  const [nz, ny, nx] = volume.shape, [fz, fy, fx] = volume.factors;
  const bytes = new ArrayBuffer(HEADER + 2 * volume.data.length), view = new DataView(bytes);
  const short = (at, value) => view.setInt16(at, value, true), float = (at, value) => view.setFloat32(at, value, true);
  view.setInt32(0, 348, true);
  [3, nx, ny, nz, 1, 1, 1, 1].forEach((value, at) => short(40 + 2 * at, value));
  if (volume.isLabel) short(68, CLASSES);
  short(70, INT16);
  short(72, 16);
  const spacing = [volume.spacing[2] * fx, volume.spacing[1] * fy, volume.spacing[0] * fz];
  [1, ...spacing, 1, 1, 1, 1].forEach((value, at) => float(76 + 4 * at, value));
  float(108, HEADER);
  float(112, volume.facts.slope);
  float(116, volume.facts.inter);
  view.setUint8(123, MM);
  short(254, SCANNER);
  const steps = [volume.step[2].map(one => one * fx), volume.step[1].map(one => one * fy), volume.step[0].map(one => one * fz)];
  [-1, -1, 1].forEach((sign, row) => {  // LPS to RAS
    steps.forEach((step, column) => float(280 + 16 * row + 4 * column, sign * step[row]));
    float(280 + 16 * row + 12, sign * volume.geometry.origin_xyz[row]);
  });
  [110, 43, 49, 0].forEach((letter, at) => view.setUint8(344 + at, letter));  // "n+1"
  new Int16Array(bytes, HEADER).set(volume.data);
  return bytes;
}

/** Draw a volume and, over it, its labels into a figure; resolves to that figure. */
export async function rendering(volume, window, label, classes) {
  const said = h("figcaption", {}, "Drawing …");
  const canvas = h("canvas", { id: "rendering", tabindex: "0", "aria-label": "3-D view; drag to turn it" });
  const figure = h("figure", { class: "plane", "data-plane": "rendering" }, h("div", { class: "stage" }, canvas), said);
  const draw = async () => {
    if (volume.data.length > MOST_VOXELS) throw new Error("This volume has too many voxels for a 3-D view; crop or resample it first.");
    const { NVImage, Niivue } = await import("./niivue.js");
    const shown = new Niivue({ isResizeCanvas: true, backColor: [0, 0, 0, 1], show3Dcrosshair: false, isOrientCube: true, logLevel: "error", loadingText: "" });
    await shown.attachToCanvas(canvas);
    const image = await NVImage.new(nifti(volume), "image.nii", "gray");
    image.cal_min = window.low;
    image.cal_max = window.high;
    shown.addVolume(image);
    if (label?.data) {
      const own = await NVImage.new(nifti(label), "label.nii", "");
      const most = Math.max(0, ...classes.map(one => one.value)) + 1;
      const table = { R: [], G: [], B: [], A: [], I: [], labels: [] };
      for (let value = 0; value < most; value++) {
        const one = classes.find(known => known.value === value && known.isShown);
        [table.R, table.G, table.B].forEach((part, at) => part.push(one?.colour[at] ?? 0));
        table.A.push(one ? 255 : 0);
        table.I.push(value);
        table.labels.push(one?.name ?? String(value));
      }
      own.setColormapLabel(table);
      shown.addVolume(own);
    }
    shown.setSliceType(shown.sliceTypeRender);
    fill(said, "3-D view: drag to turn it, wheel to zoom · drawn by NiiVue");
    requestAnimationFrame(() => { figure.dataset.ready = "true"; });  // after the frame that shows it
  };
  draw().catch(error => { said.className = "problem"; said.textContent = `No 3-D view: ${error.message}`; });
  return figure;
}
