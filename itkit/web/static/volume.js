// A volume in the browser: its grid, its voxels at the best level that has arrived, and slices of it on another grid.
import { get, voxels } from "./api.js";

const WHOLE_BYTES = 320 * 2 ** 20;  // larger ones stay at a coarser level; single slices come in full

/** 3x3 matrices are row by row; vectors are (x, y, z) for points and (z, y, x) for indices, as everywhere in ITKIT. */
function inverse(m) {
  const [a, b, c, d, e, f, g, h, i] = m;
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  return [e * i - f * h, c * h - b * i, b * f - c * e, f * g - d * i, a * i - c * g, c * d - a * f, d * h - e * g, b * g - a * h, a * e - b * d].map(v => v / det);
}

export class Volume {
  constructor(geometry) {
    this.geometry = geometry;
    this.size = geometry.size_zyx;
    this.spacing = geometry.spacing_zyx;
    const d = geometry.direction_xyz, [sz, sy, sx] = this.spacing;
    // columns: the step of index z, y, x in mm
    this.step = [[d[2] * sz, d[5] * sz, d[8] * sz], [d[1] * sy, d[4] * sy, d[7] * sy], [d[0] * sx, d[3] * sx, d[6] * sx]];
    this.inverse = inverse(d);
    this.data = null;
    this.facts = null;
    this.factors = [1, 1, 1];
    this.shape = this.size;
    this.projections = new Map();  // axis: the largest values along it, from all voxels
    this.fine = new Map();  // "axis:index" -> a slice in full, where the volume itself is coarser
  }

  static async open(path, signal, series) {
    return new Volume(await get("/api/volume", { path, series }, signal));
  }

  /** What names its voxels to the server. */
  get address() { return { path: this.geometry.path, series: this.geometry.series }; }

  /** The physical point (LPS, mm) of an index. */
  point([z, y, x]) {
    return [0, 1, 2].map(r => this.geometry.origin_xyz[r] + this.step[0][r] * z + this.step[1][r] * y + this.step[2][r] * x);
  }

  /** The index of a point; it may lie between voxels. */
  index(point) {
    const delta = point.map((value, r) => value - this.geometry.origin_xyz[r]);
    const [x, y, z] = [0, 1, 2].map(r => this.inverse[3 * r] * delta[0] + this.inverse[3 * r + 1] * delta[1] + this.inverse[3 * r + 2] * delta[2]);
    return [z / this.spacing[0], y / this.spacing[1], x / this.spacing[2]];
  }

  isInside(index) {
    return index.every((value, axis) => Math.round(value) >= 0 && Math.round(value) < this.size[axis]);
  }

  /** The value at an index; null outside, or before voxels have arrived. */
  value(index) {
    if (!this.data || !this.isInside(index)) return null;
    const [z, y, x] = index.map((value, axis) => Math.min(this.shape[axis] - 1, Math.round(Math.round(value) / this.factors[axis])));
    return this.data[(z * this.shape[1] + y) * this.shape[2] + x] * this.facts.slope + this.facts.inter;
  }

  get isLabel() { return this.kind === "label"; }

  /** Fetch the voxels: half size first, then in full unless that is too much. `onLevel` is called after each. */
  async load(kind, { signal, onLevel = () => {}, onPart = () => {} } = {}) {
    this.kind = kind;
    const bytes = level => 2 * level.size_zyx.reduce((a, b) => a * b, 1);
    const levels = this.geometry.levels.filter((level, at, all) => at === 0 || bytes(level) < bytes(all[at - 1]));
    const fitting = levels.filter(level => bytes(level) <= WHOLE_BYTES);
    const best = fitting[0] ?? levels.at(-1);
    const first = levels[levels.indexOf(best) + 1];
    const wanted = first && bytes(best) > 2 ** 22 ? [first, best] : [best];
    for (const level of wanted) {
      const { facts, data } = await voxels({ ...this.address, level: level.level, kind }, signal, part => onPart(level.level, part));
      Object.assign(this, { facts, data, factors: level.factors_zyx, shape: level.size_zyx });
      onLevel(level.level);
    }
    this.isWhole = best.level === 0;
  }

  /** Fetch the largest values along an axis. */
  async project(axis, signal) {
    const { data } = await voxels({ ...this.address, level: 0, kind: this.kind, axis, project: true }, signal);
    this.projections.set(axis, data);
  }

  /** Fetch one slice in full, where only a coarser volume is here. */
  async refine(axis, index, signal) {
    const key = `${axis}:${index}`;
    if (this.isWhole || this.fine.has(key)) return false;
    const { data } = await voxels({ ...this.address, level: 0, kind: this.kind, axis, index }, signal);
    this.fine.set(key, data);
    if (this.fine.size > 24) this.fine.delete(this.fine.keys().next().value);
    return true;
  }
}

/** The rows and columns of a plane of a base volume. */
export function planeSize(base, plane) {
  return [base.size[plane.row], base.size[plane.column]];
}

/** The index in the base volume of a pixel of a plane. */
export function indexOf(base, plane, at, row, column) {
  const index = [...at];
  index[plane.row] = plane.row_back ? base.size[plane.row] - 1 - row : row;
  index[plane.column] = plane.column_back ? base.size[plane.column] - 1 - column : column;
  return index;
}

/** The pixel of a plane at which an index lies. */
export function pixelOf(base, plane, index) {
  const row = index[plane.row], column = index[plane.column];
  return [plane.row_back ? base.size[plane.row] - 1 - row : row, plane.column_back ? base.size[plane.column] - 1 - column : column];
}

/**
 * The nearest voxels of a volume at the pixels of a plane of the base volume, into `out`; `outside` where it ends.
 * Where rows and columns follow its axes, the places are summed from two tables; else each is computed.
 */
export function slice(volume, base, plane, at, out, outside) {
  const [rows, columns] = planeSize(base, plane);
  const { shape, factors, data } = volume;
  const fine = volume === base ? volume.fine.get(`${plane.across}:${at[plane.across]}`) : null;
  if (fine) { fromSlice(fine, base, plane, out); return; }
  const first = volume === base ? indexOf(base, plane, at, 0, 0) : volume.index(base.point(indexOf(base, plane, at, 0, 0)));
  const next = (row, column) => {
    const index = indexOf(base, plane, at, row, column);
    return volume === base ? index : volume.index(base.point(index));
  };
  const stepsRow = next(1, 0).map((value, axis) => value - first[axis]);
  const stepsColumn = next(0, 1).map((value, axis) => value - first[axis]);
  const strides = [shape[1] * shape[2], shape[2], 1];
  const place = (value, axis) => {
    const whole = Math.round(value);
    if (whole < 0 || whole >= volume.size[axis]) return -1;
    return Math.min(shape[axis] - 1, Math.round(whole / factors[axis])) * strides[axis];
  };
  const follows = [0, 1, 2].every(axis => Math.abs(stepsRow[axis]) < 1e-6 || Math.abs(stepsColumn[axis]) < 1e-6);
  if (follows) {
    // an axis moves with the rows, or with the columns, or with neither: its place is in one of two tables
    const byRow = new Int32Array(rows), byColumn = new Int32Array(columns);
    const ofColumns = [0, 1, 2].map(axis => Math.abs(stepsColumn[axis]) >= 1e-6);
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let axis = 0; axis < 3; axis++) {
        if (ofColumns[axis]) continue;
        const one = place(first[axis] + stepsRow[axis] * r, axis);
        if (one < 0) { sum = -1; break; }
        sum += one;
      }
      byRow[r] = sum;
    }
    for (let c = 0; c < columns; c++) {
      let sum = 0;
      for (let axis = 0; axis < 3; axis++) {
        if (!ofColumns[axis]) continue;
        const one = place(first[axis] + stepsColumn[axis] * c, axis);
        if (one < 0) { sum = -1; break; }
        sum += one;
      }
      byColumn[c] = sum;
    }
    for (let r = 0, to = 0; r < rows; r++) {
      const row = byRow[r];
      for (let c = 0; c < columns; c++, to++) out[to] = row < 0 || byColumn[c] < 0 ? outside : data[row + byColumn[c]];
    }
    return;
  }
  for (let r = 0, to = 0; r < rows; r++) {
    let z = first[0] + stepsRow[0] * r, y = first[1] + stepsRow[1] * r, x = first[2] + stepsRow[2] * r;
    for (let c = 0; c < columns; c++, to++, z += stepsColumn[0], y += stepsColumn[1], x += stepsColumn[2]) {
      const i = place(z, 0), j = place(y, 1), k = place(x, 2);
      out[to] = i < 0 || j < 0 || k < 0 ? outside : data[i + j + k];
    }
  }
}

export function fromSlice(data, base, plane, out) {
  const [rows, columns] = planeSize(base, plane);
  const isTurned = plane.row > plane.column;  // the slice keeps the order of the volume's axes
  for (let r = 0, to = 0; r < rows; r++) {
    const i = plane.row_back ? rows - 1 - r : r;
    for (let c = 0; c < columns; c++, to++) {
      const j = plane.column_back ? columns - 1 - c : c;
      out[to] = isTurned ? data[j * rows + i] : data[i * columns + j];
    }
  }
}
