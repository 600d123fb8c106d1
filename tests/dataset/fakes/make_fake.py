#!/usr/bin/env python3
"""Write a tiny synthetic release in the official layout of a public medical dataset.

    python make_fake.py NAME OUT [--cases 2] [--seed 0]
    python make_fake.py --list
    python make_fake.py all OUT          # every dataset, each in OUT/<name>

OUT receives the release (official folder and file names) and OUT/expected.json, the ground
truth a converter must reproduce.  expected.json["root"] is the folder, relative to OUT, that a
user would hand to the converter.  verify_converted.py reads it.

Needs numpy, SimpleITK, pydicom and PIL only.  All content is random; nothing is taken from any
real data set.  The facts behind each layout: docs/datasets.
"""
from __future__ import annotations

import argparse
import csv
import datetime
import gzip
import json
import math
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np

# --------------------------------------------------------------------------- geometry helpers


def unit_direction(code: str) -> np.ndarray:
    """3x3 ITK direction (columns = axes, physical space LPS) for a nibabel-style code ('RAS')."""
    axis = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
    d = np.zeros((3, 3))
    for column, letter in enumerate(code):
        row, sign = axis[letter]
        d[row, column] = sign
    return d


def rotation(axis: int, degrees: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    i, j = [(1, 2), (0, 2), (0, 1)][axis]
    r = np.eye(3)
    r[i, i] = r[j, j] = c
    r[i, j], r[j, i] = -s, s
    return r


class Geo:
    """Grid: size/spacing/origin/direction in ITK convention (x fastest, LPS world)."""

    def __init__(self, size, spacing, origin, direction):
        self.size = tuple(int(v) for v in size)
        self.spacing = tuple(float(v) for v in spacing)
        self.origin = tuple(float(v) for v in origin)
        self.direction = np.asarray(direction, float).reshape(3, 3)

    @property
    def shape(self):  # numpy (z, y, x)
        return self.size[::-1]

    def point(self, index):
        return np.asarray(self.origin) + self.direction @ (np.asarray(index, float) * self.spacing)

    def ras_affine(self):
        a = np.eye(4)
        a[:3, :3] = self.direction * np.asarray(self.spacing)
        a[:3, 3] = self.origin
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ a

    def copy(self, **kw):
        d = dict(size=self.size, spacing=self.spacing, origin=self.origin, direction=self.direction)
        d.update(kw)
        return Geo(**d)


# --------------------------------------------------------------------------- writers

NIFTI_TYPES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768}


def quaternion(r: np.ndarray):
    """b, c, d of the NIfTI quaternion and qfac for a 3x3 (possibly improper) orthonormal matrix."""
    r = np.array(r, float)
    qfac = 1.0
    if np.linalg.det(r) < 0:
        r[:, 2] *= -1
        qfac = -1.0
    k = np.array([[r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
                  [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
                  [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0],
                  [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r.trace()]]) / 3.0
    values, vectors = np.linalg.eigh(k)  # uses the lower triangle
    x, y, z, w = vectors[:, int(np.argmax(values))]
    if w < 0:
        x, y, z = -x, -y, -z
    return (x, y, z), qfac


def write_nifti(path, array, geo: Geo, dtype=None, qform_code=1, sform_code=1, slope=1.0, inter=0.0,
                affine=None, extra_dims=(), raw_name=None):
    """Minimal NIfTI-1 writer.  array: numpy (z,y,x) or (c,z,y,x) for a 4-D file.

    slope/inter: the stored value is (value - inter) / slope.  affine overrides the sform (RAS).
    extra_dims: trailing singleton dimensions, e.g. (1,) makes a 4-D singleton file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(array)
    dtype = np.dtype(dtype or array.dtype)
    stored = array
    if slope != 1.0 or inter != 0.0:
        stored = (array.astype(float) - inter) / slope
    if dtype.kind in "iu":
        stored = np.rint(stored)
    stored = stored.astype(dtype.newbyteorder("<"))
    dims = list(array.shape[::-1]) + list(extra_dims)
    h = bytearray(352)
    struct.pack_into("<i", h, 0, 348)
    struct.pack_into("<8h", h, 40, len(dims), *dims, *([1] * (7 - len(dims))))
    struct.pack_into("<h", h, 70, NIFTI_TYPES[dtype.str[1:]])
    struct.pack_into("<h", h, 72, dtype.itemsize * 8)
    (b, c, d), qfac = quaternion(np.diag([-1.0, -1.0, 1.0]) @ geo.direction)
    struct.pack_into("<8f", h, 76, qfac, *geo.spacing, 1.0, 1.0, 1.0, 1.0)
    struct.pack_into("<f", h, 108, 352.0)
    struct.pack_into("<2f", h, 112, slope, inter)
    h[123] = 2  # mm
    h[148:148 + 9] = b"synthetic"
    struct.pack_into("<2h", h, 252, qform_code, sform_code)
    a = geo.ras_affine() if affine is None else np.asarray(affine, float)
    struct.pack_into("<6f", h, 256, b, c, d, *(geo.ras_affine()[:3, 3]))
    for row in range(3):
        struct.pack_into("<4f", h, 280 + 16 * row, *a[row])
    h[344:348] = b"n+1\0"
    data = bytes(h) + stored.tobytes()
    if path.name.lower().endswith(".gz"):
        with open(path, "wb") as raw:
            with gzip.GzipFile(filename=raw_name or path.name[:-3], mode="wb", fileobj=raw, mtime=0,
                               compresslevel=6) as f:
                f.write(data)
    else:
        path.write_bytes(data)
    return path


def sheared(geo: Geo, amount=2e-3):
    """RAS affine of geo with one axis bent: not orthonormal any more."""
    a = geo.ras_affine()
    a[:3, 2] += amount * geo.spacing[2] * a[:3, 0] / np.linalg.norm(a[:3, 0])
    return a


def to_sitk(array, geo: Geo, vector=False):
    import SimpleITK as sitk
    img = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=vector)
    img.SetSpacing(geo.spacing)
    img.SetOrigin(geo.origin)
    img.SetDirection(geo.direction.ravel().tolist())
    return img


def write_metaimage(path, array, geo: Geo, compress=False):
    import SimpleITK as sitk
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(to_sitk(array, geo), str(path), useCompression=compress)
    return path


def write_text(path, text):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_json(path, obj, indent=4):
    return write_text(path, json.dumps(obj, indent=indent))


# --------------------------------------------------------------------------- synthetic content


def fill_labels(rng, shape, values):
    """Label array with every value of `values` present, as random ellipsoids, later ones on top."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    out = np.zeros(shape, np.int64)
    for v in values:
        c = [rng.uniform(0.15, 0.85) * (n - 1) for n in shape]
        r = [max(1.2, rng.uniform(0.10, 0.22) * n) for n in shape]
        e = ((z - c[0]) / r[0]) ** 2 + ((y - c[1]) / r[1]) ** 2 + ((x - c[2]) / r[2]) ** 2
        out[e <= 1.0] = v
    for v in values:  # make sure nothing was buried completely
        while not (out == v).any():
            free = np.argwhere(out == 0)
            p = free[rng.integers(len(free))]
            out[tuple(p)] = v
            q = np.minimum(p + (0, 0, 1), np.array(shape) - 1)
            if out[tuple(q)] == 0:
                out[tuple(q)] = v
    return out


def fill_binary(rng, shape, big=False):
    z, y, x = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    c = [rng.uniform(0.2, 0.8) * (n - 1) for n in shape]
    lo, hi = (0.25, 0.4) if big else (0.06, 0.18)
    r = [max(1.1, rng.uniform(lo, hi) * n) for n in shape]
    e = ((z - c[0]) / r[0]) ** 2 + ((y - c[1]) / r[1]) ** 2 + ((x - c[2]) / r[2]) ** 2
    return (e <= 1.0).astype(np.uint8)


def fill_ct(rng, shape, labels=None):
    """CT-like int16 HU: air outside, soft tissue inside, no mirror symmetry."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    body = ((x + 0.08) / 0.9) ** 2 + ((y - 0.1) / 0.75) ** 2 <= 1
    img = np.where(body, 40 + 60 * x - 35 * y + 20 * z, -1000.0)
    if labels is not None:
        img = img + np.where(labels > 0, 25.0 + 7.0 * (labels % 13), 0.0)
    img = img + rng.normal(0, 12, shape)
    return np.clip(np.rint(img), -1024, 3071).astype(np.int16)


def fill_mr(rng, shape, labels=None, gain=1.0, floating=False):
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    head = (x / 0.85) ** 2 + ((y + 0.05) / 0.9) ** 2 + (z / 1.2) ** 2 <= 1
    img = np.where(head, 400 + 150 * x + 90 * y - 60 * z, 0.0) * gain
    if labels is not None:
        img = img + np.where(labels > 0, 40.0 * labels, 0.0)
    img = np.where(head, img + rng.normal(0, 15, shape), 0.0)
    img = np.clip(img, 0, None)
    return img.astype(np.float32) if floating else np.rint(img).astype(np.int16)


def case_size(rng, base=(32, 30, 12)):
    return tuple(int(b + rng.integers(-2, 3)) for b in base)


def random_geo(rng, code="RAS", spacing=(0.78125, 0.78125, 2.5), size=None, origin=None, tilt=0.0):
    size = size or case_size(rng)
    sp = tuple(float(np.float32(s)) for s in spacing)
    d = unit_direction(code)
    if tilt:
        d = rotation(0, tilt) @ d
    if origin is None:
        origin = [float(np.float32(rng.integers(-3000, 3000) / 16.0)) for _ in range(3)]
    return Geo(size, sp, origin, d)


# --------------------------------------------------------------------------- ground truth


class Release:
    """Collects the truth while the files are written."""

    def __init__(self, out, name, seed, root, labels, label_note=""):
        self.out = Path(out)
        self.root = self.out / root if root not in ("", ".") else self.out
        self.root.mkdir(parents=True, exist_ok=True)
        self.rng = np.random.default_rng([int(seed), zlib.crc32(name.encode())])
        self.truth = {
            "format": "fake-release-expected/1",
            "dataset": name,
            "seed": int(seed),
            "root": root or ".",
            "labels": {str(k): v for k, v in labels.items()},
            "label_note": label_note,
            "tolerance": {"spacing": 1e-5, "origin": 1e-3, "direction": 1e-5, "value": 1e-3},
            "cases": [],
            "must_skip": [],
            "must_report": [],
            "quirks": [],
        }

    def rel(self, p):
        return os.path.relpath(p, self.root).replace(os.sep, "/")

    def quirk(self, text):
        self.truth["quirks"].append(text)

    def skip(self, path, why, names=()):
        """names: output names that must not appear."""
        self.truth["must_skip"].append({"path": path if isinstance(path, str) else self.rel(path),
                                        "why": why, "names": list(names)})

    def report(self, case, why, level="error"):
        """error: no output, the run names the case; warning: output is written, the run names the case."""
        self.truth["must_report"].append({"case": case, "why": why, "level": level})

    def case(self, case, geo: Geo, channels, label=None, accept=(), split="", modality="",
             channel_names=None, image_sources=(), label_sources=(), alternatives=None, policy=None,
             label_map=None, **extra):
        """channels: list of arrays (z,y,x) with the values after rescale; label: int array or None."""
        import SimpleITK as sitk
        channels = [np.asarray(c) for c in channels]
        ref = to_sitk(channels[0].astype(np.float64), geo)

        def pack(img):
            return {"size": list(img.GetSize()),
                    "spacing": [float(v) for v in img.GetSpacing()],
                    "origin": [float(v) for v in img.GetOrigin()],
                    "direction": [float(v) + 0.0 for v in img.GetDirection()]}

        entry = {"case": case, "accept": [case] + [a for a in accept if a != case], "split": split,
                 "modality": modality, "ndim": 3, "n_channels": len(channels),
                 "channel_names": list(channel_names or [modality or "image"]),
                 "image_sources": [self.rel(p) for p in image_sources],
                 "label_sources": [self.rel(p) for p in label_sources]}
        entry.update(pack(ref))
        entry["oriented"] = {o: pack(sitk.DICOMOrient(ref, o)) for o in ("LPS", "RAS", "LPI", "RAI")}
        entry["pixels"] = [{"min": float(c.min()), "max": float(c.max()),
                            "mean": float(c.astype(np.float64).mean())} for c in channels]
        entry["has_label"] = label is not None
        if label is not None:
            label = np.asarray(label).astype(np.int64)
            v, n = np.unique(label, return_counts=True)
            entry["label_values"] = [int(i) for i in v]
            entry["label_counts"] = {str(int(i)): int(k) for i, k in zip(v, n)}
            if policy:
                entry["label_policy"] = policy
            if alternatives:
                entry["label_alternatives"] = {}
                for k, arr in alternatives.items():
                    v, n = np.unique(np.asarray(arr).astype(np.int64), return_counts=True)
                    entry["label_alternatives"][k] = {str(int(i)): int(m) for i, m in zip(v, n)}
        if label_map:
            entry["label_map"] = {str(k): v for k, v in label_map.items()}
        # probes: physical points at voxel centres; independent of the stored orientation
        prng = np.random.default_rng(zlib.crc32(case.encode()))
        probes = []
        picks = [tuple(int(prng.integers(n)) for n in geo.size) for _ in range(10)]
        if label is not None:
            for val in entry["label_values"][:8]:
                z, y, x = np.argwhere(label == val)[0]
                picks.append((int(x), int(y), int(z)))
        for x, y, z in picks:
            probes.append({"point": [float(v) for v in geo.point((x, y, z))], "index": [x, y, z],
                           "image": [float(c[z, y, x]) for c in channels],
                           "label": None if label is None else int(label[z, y, x])})
        entry["probes"] = probes
        entry.update(extra)
        self.truth["cases"].append(entry)
        return entry

    def finish(self):
        write_json(self.out / "expected.json", self.truth, indent=1)
        return self.truth


# --------------------------------------------------------------------------- label tables

ABDOMENCT1K = {0: "background", 1: "liver", 2: "kidney", 3: "spleen", 4: "pancreas"}
BRATS24_GLI = {0: "background", 1: "NETC", 2: "SNFH", 3: "ET", 4: "RC"}
BRATS24_PED = {0: "background", 1: "ET", 2: "NET", 3: "CC", 4: "ED"}
BRATS24_MENRT = {0: "background", 1: "GTV"}
CT_ORG = {0: "background", 1: "liver", 2: "bladder", 3: "lungs", 4: "kidneys", 5: "bone", 6: "brain"}
CTSPINE = {0: "background"}
CTSPINE.update({i + 1: n for i, n in enumerate(
    [f"C{i}" for i in range(1, 8)] + [f"T{i}" for i in range(1, 13)] + [f"L{i}" for i in range(1, 7)])})
FLARE22 = {0: "background", 1: "liver", 2: "right kidney", 3: "spleen", 4: "pancreas", 5: "aorta",
           6: "inferior vena cava", 7: "right adrenal gland", 8: "left adrenal gland", 9: "gallbladder",
           10: "esophagus", 11: "stomach", 12: "duodenum", 13: "left kidney"}
FLARE23 = {**FLARE22, 14: "tumor"}
TBAD = {0: "background", 1: "true lumen (TL)", 2: "false lumen (FL)", 3: "false lumen thrombus (FLT)"}
KITS = {0: "background", 1: "kidney", 2: "tumor", 3: "cyst"}
LUNA = {0: "background", 3: "left lung", 4: "right lung", 5: "trachea"}
LITS = {0: "background", 1: "liver", 2: "tumor"}
AMOS = {0: "background", 1: "spleen", 2: "right kidney", 3: "left kidney", 4: "gall bladder",
        5: "esophagus", 6: "liver", 7: "stomach", 8: "arota", 9: "postcava", 10: "pancreas",
        11: "right adrenal gland", 12: "left adrenal gland", 13: "duodenum", 14: "bladder",
        15: "prostate/uterus"}  # 'arota' is the official dataset.json spelling
BTCV = {0: "background", 1: "spleen", 2: "right kidney", 3: "left kidney", 4: "gallbladder",
        5: "esophagus", 6: "liver", 7: "stomach", 8: "aorta", 9: "inferior vena cava",
        10: "portal vein and splenic vein", 11: "pancreas", 12: "right adrenal gland",
        13: "left adrenal gland"}
WORD = {0: "background", 1: "liver", 2: "spleen", 3: "left_kidney", 4: "right_kidney", 5: "stomach",
        6: "gallbladder", 7: "esophagus", 8: "pancreas", 9: "duodenum", 10: "colon", 11: "intestine",
        12: "adrenal", 13: "rectum", 14: "bladder", 15: "Head_of_femur_L", 16: "Head_of_femur_R"}


def _vertebrae():
    return ([f"vertebrae_L{i}" for i in range(5, 0, -1)] + [f"vertebrae_T{i}" for i in range(12, 0, -1)]
            + [f"vertebrae_C{i}" for i in range(7, 0, -1)])


def _ribs():
    return [f"rib_left_{i}" for i in range(1, 13)] + [f"rib_right_{i}" for i in range(1, 13)]


TS_V1 = (["spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "aorta",
          "inferior_vena_cava", "portal_vein_and_splenic_vein", "pancreas", "adrenal_gland_right",
          "adrenal_gland_left", "lung_upper_lobe_left", "lung_lower_lobe_left", "lung_upper_lobe_right",
          "lung_middle_lobe_right", "lung_lower_lobe_right"] + _vertebrae()
         + ["esophagus", "trachea", "heart_myocardium", "heart_atrium_left", "heart_ventricle_left",
            "heart_atrium_right", "heart_ventricle_right", "pulmonary_artery", "brain",
            "iliac_artery_left", "iliac_artery_right", "iliac_vena_left", "iliac_vena_right",
            "small_bowel", "duodenum", "colon"] + _ribs()
         + ["humerus_left", "humerus_right", "scapula_left", "scapula_right", "clavicula_left",
            "clavicula_right", "femur_left", "femur_right", "hip_left", "hip_right", "sacrum", "face",
            "gluteus_maximus_left", "gluteus_maximus_right", "gluteus_medius_left",
            "gluteus_medius_right", "gluteus_minimus_left", "gluteus_minimus_right",
            "autochthon_left", "autochthon_right", "iliopsoas_left", "iliopsoas_right",
            "urinary_bladder"])
TS_V2 = (["spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "pancreas",
          "adrenal_gland_right", "adrenal_gland_left", "lung_upper_lobe_left", "lung_lower_lobe_left",
          "lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right", "esophagus",
          "trachea", "thyroid_gland", "small_bowel", "duodenum", "colon", "urinary_bladder", "prostate",
          "kidney_cyst_left", "kidney_cyst_right", "sacrum", "vertebrae_S1"] + _vertebrae()
         + ["heart", "aorta", "pulmonary_vein", "brachiocephalic_trunk", "subclavian_artery_right",
            "subclavian_artery_left", "common_carotid_artery_right", "common_carotid_artery_left",
            "brachiocephalic_vein_left", "brachiocephalic_vein_right", "atrial_appendage_left",
            "superior_vena_cava", "inferior_vena_cava", "portal_vein_and_splenic_vein",
            "iliac_artery_left", "iliac_artery_right", "iliac_vena_left", "iliac_vena_right",
            "humerus_left", "humerus_right", "scapula_left", "scapula_right", "clavicula_left",
            "clavicula_right", "femur_left", "femur_right", "hip_left", "hip_right", "spinal_cord",
            "gluteus_maximus_left", "gluteus_maximus_right", "gluteus_medius_left",
            "gluteus_medius_right", "gluteus_minimus_left", "gluteus_minimus_right",
            "autochthon_left", "autochthon_right", "iliopsoas_left", "iliopsoas_right", "brain",
            "skull"] + _ribs() + ["sternum", "costal_cartilages"])
TS_MR2 = ["spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "pancreas",
          "adrenal_gland_right", "adrenal_gland_left", "lung_left", "lung_right", "esophagus",
          "small_bowel", "duodenum", "colon", "urinary_bladder", "prostate", "sacrum", "vertebrae",
          "intervertebral_discs", "spinal_cord", "heart", "aorta", "inferior_vena_cava",
          "portal_vein_and_splenic_vein", "iliac_artery_left", "iliac_artery_right", "iliac_vena_left",
          "iliac_vena_right", "humerus_left", "humerus_right", "scapula_left", "scapula_right",
          "clavicula_left", "clavicula_right", "femur_left", "femur_right", "hip_left", "hip_right",
          "gluteus_maximus_left", "gluteus_maximus_right", "gluteus_medius_left",
          "gluteus_medius_right", "gluteus_minimus_left", "gluteus_minimus_right", "autochthon_left",
          "autochthon_right", "iliopsoas_left", "iliopsoas_right", "brain"]
TS_MR1 = (["spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "pancreas",
           "adrenal_gland_right", "adrenal_gland_left", "lung_left", "lung_right", "esophagus",
           "small_bowel", "duodenum", "colon", "urinary_bladder", "prostate", "sacrum", "vertebrae",
           "intervertebral_discs", "spinal_cord", "heart", "aorta", "inferior_vena_cava",
           "portal_vein_and_splenic_vein", "iliac_artery_left", "iliac_artery_right",
           "iliac_vena_left", "iliac_vena_right", "humerus_left", "humerus_right", "fibula", "tibia",
           "femur_left", "femur_right", "hip_left", "hip_right", "gluteus_maximus_left",
           "gluteus_maximus_right", "gluteus_medius_left", "gluteus_medius_right",
           "gluteus_minimus_left", "gluteus_minimus_right", "autochthon_left", "autochthon_right",
           "iliopsoas_left", "iliopsoas_right", "quadriceps_femoris_left", "quadriceps_femoris_right",
           "thigh_medial_compartment_left", "thigh_medial_compartment_right",
           "thigh_posterior_compartment_left", "thigh_posterior_compartment_right", "sartorius_left",
           "sartorius_right", "brain"])
assert (len(TS_V1), len(TS_V2), len(TS_MR2), len(TS_MR1)) == (104, 117, 50, 56)

MSD = {
    "Task01_BrainTumour": dict(prefix="BRATS", pad=3, dim="4D", modality={"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
                               labels={"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
                               name="BRATS", n=(484, 266)),
    "Task02_Heart": dict(prefix="la", pad=3, dim="3D", modality={"0": "MRI"},
                         labels={"0": "background", "1": "left atrium"}, name="LeftAtrium", n=(20, 10)),
    "Task03_Liver": dict(prefix="liver", pad=0, dim="3D", modality={"0": "CT"},
                         labels={"0": "background", "1": "liver", "2": "cancer"}, name="Liver", n=(131, 70)),
    "Task04_Hippocampus": dict(prefix="hippocampus", pad=3, dim="3D", modality={"0": "MRI"},
                               labels={"0": "background", "1": "Anterior", "2": "Posterior"}, name="Hippocampus", n=(260, 130)),
    "Task05_Prostate": dict(prefix="prostate", pad=2, dim="4D", modality={"0": "T2", "1": "ADC"},
                            labels={"0": "background", "1": "PZ", "2": "TZ"}, name="PROSTATE", n=(32, 16)),
    "Task06_Lung": dict(prefix="lung", pad=3, dim="3D", modality={"0": "CT"},
                        labels={"0": "background", "1": "cancer"}, name="Lung", n=(63, 32)),
    "Task07_Pancreas": dict(prefix="pancreas", pad=3, dim="3D", modality={"0": "CT"},
                            labels={"0": "background", "1": "pancreas", "2": "cancer"}, name="Pancreas", n=(281, 139)),
    "Task08_HepaticVessel": dict(prefix="hepaticvessel", pad=3, dim="3D", modality={"0": "CT"},
                                 labels={"0": "background", "1": "Vessel", "2": "Tumour"}, name="HepaticVessel", n=(303, 140)),
    "Task09_Spleen": dict(prefix="spleen", pad=0, dim="3D", modality={"0": "CT"},
                          labels={"0": "background", "1": "spleen"}, name="Spleen", n=(41, 20)),
    "Task10_Colon": dict(prefix="colon", pad=3, dim="3D", modality={"0": "CT"},
                         labels={"0": "background", "1": "colon cancer primaries"}, name="Colon", n=(126, 64)),
}


# --------------------------------------------------------------------------- small shared pieces

APPLE_DOUBLE = (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\x02\x00\x00\x00\x09"
                + b"\x00" * 160 + b"com.apple.quarantine\x00synthetic")


def apple_double(path):
    """The '._name' companion file macOS tar puts beside every file (187-331 bytes, no NIfTI)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(APPLE_DOUBLE)
    return path


def choose(rng, values, k):
    values = list(values)
    k = min(k, len(values))
    return sorted(int(v) for v in rng.choice(values, size=k, replace=False))


def ids(rng, lo, hi, n):
    return sorted(int(v) for v in rng.choice(np.arange(lo, hi), size=n, replace=False))


# --------------------------------------------------------------------------- the data sets

GENERATORS = {}


def dataset(name):
    def wrap(fn):
        GENERATORS[name] = fn
        return fn
    return wrap


@dataset("abdomenct1k")
def gen_abdomenct1k(out, n, seed):
    r = Release(out, "abdomenct1k", seed, "AbdomenCT-1K", ABDOMENCT1K,
                "kidney is one class (left and right together)")
    rng = r.rng
    parts = {1: (1, 400), 2: (401, 800), 3: (801, 1000)}
    for k in range(n):
        part = 1 + k % 3
        num = ids(rng, parts[part][0], parts[part][1], 1)[0]
        code = ["LAS", "RAS", "LPS"][k % 3]
        spacing = (1.0, 1.0, 1.0) if k == 1 else (0.80273438, 0.80273438, 2.5)
        geo = random_geo(rng, code, spacing)
        values = [1, 2, 3, 4] if k != 2 else [1, 2, 4]
        lab = fill_labels(rng, geo.shape, values)
        img = fill_ct(rng, geo.shape, lab)
        name = f"Case_{num:05d}"
        pi = write_nifti(r.root / f"AbdomenCT-1K-ImagePart{part}" / f"{name}_0000.nii.gz", img, geo, "i2")
        pl = write_nifti(r.root / "Mask" / f"{name}.nii.gz", lab, geo, "u1")
        r.case(name, geo, [img], lab, accept=[f"{num:05d}"], split="train", modality="CT",
               image_sources=[pi], label_sources=[pl])
    # sform whose axes are not orthogonal and qform_code 0: ITK refuses it, the quaternion is sound
    num = [5, 11, 21, 49, 51, 57, 205, 213, 217, 221][int(rng.integers(10))]
    while f"Case_{num:05d}" in [c["case"] for c in r.truth["cases"]]:
        num += 1
    geo = random_geo(rng, "LAS", (0.80273438, 0.80273438, 2.5))
    lab = fill_labels(rng, geo.shape, [1, 2, 3, 4])
    img = fill_ct(rng, geo.shape, lab)
    name = f"Case_{num:05d}"
    files = [(r.root / "AbdomenCT-1K-ImagePart1" / f"{name}_0000.nii.gz", img, "i2"),
             (r.root / "Mask" / f"{name}.nii.gz", lab, "u1")]
    for path, arr, kind in files:
        write_nifti(path, arr, geo, kind, qform_code=0, sform_code=2, affine=sheared(geo))
    r.case(name, geo, [img], lab, accept=[f"{num:05d}"], split="train", modality="CT", image_sources=[files[0][0]],
           label_sources=[files[1][0]], not_orthonormal=True, tolerance={"spacing": 1e-3, "origin": 0.2, "direction": 5e-3})
    num = ids(rng, 1001, 1063, 1)[0]  # images without a public mask (benchmark test cases)
    geo = random_geo(rng, "LAS", (0.7421875, 0.7421875, 1.25))
    img = fill_ct(rng, geo.shape)
    pi = write_nifti(r.root / "AbdomenCT-1K-ImagePart3" / f"Case_{num:05d}_0000.nii.gz", img, geo, "i2")
    r.case(f"Case_{num:05d}", geo, [img], None, accept=[f"{num:05d}"], split="unlabeled", modality="CT",
           image_sources=[pi])
    r.quirk("images are split over three folders, masks are in one; image name has _0000, mask has not")
    r.quirk("1062 images but 1000 masks: an image without a mask is normal")
    r.quirk("20 cases (LiTS volumes 28-47) carry spacing 1,1,1 and are not wrong files")
    r.quirk("about 30 cases have an sform that is not orthonormal with qform_code 0: SimpleITK raises "
            "'No orthonormal definition found'; use the quaternion or the nearest orthonormal matrix")
    return r.finish()


def _brats(out, n, seed, task):
    if task == "gli":
        name, labels, root = "brats2024", BRATS24_GLI, "BraTS-GLI"
    elif task == "ped":
        name, labels, root = "brats2024_ped", BRATS24_PED, "BraTS-PEDs-v1"
    else:
        name, labels, root = "brats2024_menrt", BRATS24_MENRT, "BraTS-MEN-RT"
    r = Release(out, name, seed, root, labels,
                "channel order used here: t1n, t1c, t2w, t2f" if task != "menrt" else "single channel t1c")
    rng = r.rng
    if task == "gli":
        folders = [("training_data1_v2", "train", True), ("training_data_additional", "train", True),
                   ("validation_data", "validation", False)]
        pats = ids(rng, 5, 3064, n + 2)
        plan = []
        for k in range(n):
            plan.append((folders[0], f"BraTS-GLI-{pats[k]:05d}-{100 + (k % 2)}"))
        plan.append((folders[0], f"BraTS-GLI-{pats[0]:05d}-101"))  # second time point of one patient
        plan.append((folders[1], f"BraTS-GLI-{pats[n]:05d}-100"))
        plan.append((folders[2], f"BraTS-GLI-{pats[n + 1]:05d}-100"))
    elif task == "ped":
        pats = ids(rng, 1, 266, n)
        plan = [(("Training", "train", True), f"BraTS-PED-{p:05d}-000") for p in pats]
        plan.append((("Validation", "validation", False), f"BraTS-PED-{ids(rng, 267, 357, 1)[0]:05d}-000"))
    else:
        pats = ids(rng, 2, 626, n)
        plan = [(("BraTS-MEN-RT-Train-v2", "train", True), f"BraTS-MEN-RT-{p:04d}-1") for p in pats]
        plan.append((("BraTS-MEN-RT-Val-v1", "validation", False),
                     f"BraTS-MEN-RT-{ids(rng, 630, 701, 1)[0]:04d}-1"))
    rows = []
    for k, ((folder, split, labelled), case) in enumerate(plan):
        if task == "menrt":
            geo = random_geo(rng, ["LPS", "RAS", "LAS"][k % 3], [(1.015625, 1.015625, 1.5), (0.375, 0.375, 1.125)][k % 2],
                             tilt=float(rng.uniform(-8, 8)))
            lab = fill_labels(rng, geo.shape, [1])
            img = fill_mr(rng, geo.shape, lab)
            d = r.root / folder / case
            pi = write_nifti(d / f"{case}_t1c.nii.gz", img, geo, "i2")
            pl = [write_nifti(d / f"{case}_gtv.nii.gz", lab, geo, "u1")] if labelled else []
            r.case(case, geo, [img], lab if labelled else None, split=split, modality="MR",
                   channel_names=["t1c"], image_sources=[pi], label_sources=pl)
            continue
        geo = Geo((30, 36, 14), (1.0, 1.0, 1.0), (0.0, -35.0, 0.0) if task == "ped" else (-14.0, -18.0, -7.0),
                  unit_direction("LPS") if task == "ped" else unit_direction("LAS"))
        if task == "gli":
            values = [[1, 2, 3, 4], [2, 3], [1, 2, 4], [2]][k % 4]
        else:
            values = [[1, 2, 3, 4], [2, 4], [1, 2]][k % 3]
        lab = fill_labels(rng, geo.shape, values)
        chans, srcs = [], []
        d = r.root / folder / case
        for m, (mod, gain) in enumerate([("t1n", 1.0), ("t1c", 1.4), ("t2w", 0.8), ("t2f", 1.1)]):
            img = fill_mr(rng, geo.shape, lab, gain)
            chans.append(img)
            srcs.append(write_nifti(d / f"{case}-{mod}.nii.gz", img, geo, "i2"))
        pl = [write_nifti(d / f"{case}-seg.nii.gz", lab, geo, "u1")] if labelled else []
        r.case(case, geo, chans, lab if labelled else None, split=split, modality="MR",
               channel_names=["t1n", "t1c", "t2w", "t2f"], image_sources=srcs, label_sources=pl)
        rows.append((case, split))
    if task == "gli":
        text = "BraTS Subject ID,Train/Test/Validation ,Site\n" + "".join(
            f"{c},{'Train' if s == 'train' else 'Validation'},1\n" for c, s in rows)
        write_text(r.root / "BraTS-PTG supplementary demographic information and metadata.csv", text)
        write_text(r.root / "CITATIONS.bib", "@misc{synthetic}\n")
        r.quirk("one patient can have several time points (-100, -101, ...): split by patient, name by case")
        r.quirk("validation cases have no -seg file; not every class occurs in every case")
        r.quirk("the release folder also holds a metadata table and CITATIONS.bib")
    return r.finish()


@dataset("brats2024")
def gen_brats2024(out, n, seed):
    return _brats(out, n, seed, "gli")


@dataset("brats2024_menrt")
def gen_brats_menrt(out, n, seed):
    return _brats(out, n, seed, "menrt")


@dataset("brats2024_ped")
def gen_brats_ped(out, n, seed):
    return _brats(out, n, seed, "ped")


@dataset("ct_org")
def gen_ct_org(out, n, seed):
    r = Release(out, "ct_org", seed, "PKG - CT-ORG/CT-ORG/OrganSegmentations", CT_ORG)
    rng = r.rng
    test = ids(rng, 0, 21, max(1, n // 2))
    train = ids(rng, 21, 140, n - len(test) + 1)
    for k, num in enumerate(test + train):
        geo = random_geo(rng, ["LPS", "RAS", "LAS"][k % 3], (0.78125, 0.78125, [1.0, 5.0, 0.7][k % 3]))
        values = [1, 2, 3, 4, 5, 6] if k % 3 == 0 else [1, 3, 4, 5]
        lab = fill_labels(rng, geo.shape, values)
        img = fill_ct(rng, geo.shape, lab)
        pi = write_nifti(r.root / f"volume-{num}.nii.gz", img, geo, "i2")
        pl = write_nifti(r.root / f"labels-{num}.nii.gz", lab, geo, "f4")
        r.case(f"volume-{num}", geo, [img], lab, accept=[str(num), f"CT-ORG-{num}", f"ct_org_{num}"],
               split="test" if num <= 20 else "train", modality="CT", image_sources=[pi], label_sources=[pl])
    write_text(r.root / "README.txt", "synthetic\n")
    r.quirk("image and label lie in the same folder; label files are float32")
    r.quirk("cases 0-20 are the test split, 21-139 the training split")
    r.quirk("the case number is not zero padded; brain (6) is present in few cases")
    r.quirk("folder path contains spaces ('PKG - CT-ORG')")
    return r.finish()


@dataset("ctspine1k")
def gen_ctspine1k(out, n, seed):
    r = Release(out, "ctspine1k", seed, "CTSpine1K", CTSPINE, "25 is L6, not S1")
    rng = r.rng
    kinds = [("colon", "conlon", lambda: f"1.3.6.1.4.1.9328.50.4.{ids(rng, 1, 840, 1)[0]:04d}"),
             ("liver", "Liver", lambda: f"liver_{ids(rng, 0, 131, 1)[0]}"),
             ("COVID-19", "COVID-19", lambda: f"volume-covid19-A-{ids(rng, 3, 900, 1)[0]:04d}_ct"),
             ("HNSCC-3DCT-RT_neck", "HNSCC-3DCT-RT_neck", lambda: f"HN_P{ids(rng, 1, 36, 1)[0]:03d}")]
    splits = {"trainset": [], "test_public": [], "test_private": []}
    total = max(n, 4)
    used = set()
    for k in range(total):
        dsub, lsub, mk = kinds[k % 4]
        stem = mk()
        while stem in used:
            stem = mk()
        used.add(stem)
        geo = random_geo(rng, ["LAS", "LPS", "RAS", "LAS"][k % 4], [(0.703125, 0.703125, 0.8), (0.78125, 0.78125, 5.0)][k % 2])
        start = int(rng.integers(1, 20))
        values = list(range(start, min(25, start + 5)))
        if k == 0:
            values = [20, 21, 22, 23, 24, 25]
        lab = fill_labels(rng, geo.shape, values)
        img = fill_ct(rng, geo.shape, lab)
        pi = write_nifti(r.root / "data" / dsub / f"{stem}.nii.gz", img, geo, "i2")
        pl = write_nifti(r.root / "label" / lsub / f"{stem}_seg.nii.gz", lab, geo, "u1")
        split = list(splits)[k % 3]
        splits[split].append(stem)
        r.case(stem, geo, [img], lab, split={"trainset": "train", "test_public": "test_public",
                                            "test_private": "test_private"}[split],
               modality="CT", image_sources=[pi], label_sources=[pl])
    lines = []
    for s, stems in splits.items():
        lines += [f"{s}:"] + [f"{x}.nii.gz" for x in stems] + [""]
    (r.root / "data_split.txt").write_bytes("\r\n".join(lines).encode())
    write_text(r.root / "Path.csv", "1.3.6.1.4.1.9328.50.4.0001/01-01-2000-1-Abdomen/4.000000-Coloprone\n")
    write_text(r.root / "readme.txt", "synthetic\n")
    for extra in ("metadata_colonog.xlsx", "metadata_neck.xlsx"):
        (r.root / "data" / extra).write_bytes(b"PK\x05\x06" + b"\0" * 18)
    for extra in ("model_final_checkpoint.model", "model_final_checkpoint.model.pkl", "plans.pkl"):
        (r.root / extra).write_bytes(b"synthetic")
    geo = random_geo(rng, "LAS", (1.0, 1.0, 1.0))
    lab = fill_labels(rng, geo.shape, [20, 21])
    p = write_nifti(r.root / "label" / "completed_annotation_verse" / "verse506_CT-iso_seg.nii.gz", lab, geo, "u1")
    r.skip(p, "VerSe annotation without an image in this release", ["verse506_CT-iso", "verse506_CT-iso_seg"])
    r.quirk("label folders are spelled 'conlon' and 'Liver' while data folders are 'colon' and 'liver'")
    r.quirk("case names contain dots (DICOM-UID like): strip '.nii.gz' only, never os.path.splitext")
    r.quirk("data_split.txt has CRLF line ends, blank lines between the three blocks")
    return r.finish()


@dataset("flare22")
def gen_flare22(out, n, seed):
    r = Release(out, "flare22", seed, "FLARE2022", FLARE22)
    rng = r.rng
    tr = r.root / "Training"
    for num in ids(rng, 1, 51, n):
        geo = random_geo(rng, "LAS", (0.74023438, 0.74023438, 2.5))
        lab = fill_labels(rng, geo.shape, list(range(1, 14)))
        img = fill_ct(rng, geo.shape, lab)
        stem = f"FLARE22_Tr_{num:04d}"
        pi = write_nifti(tr / "FLARE22_LabeledCase50" / "images" / f"{stem}_0000.nii.gz", img, geo, "i2")
        pl = write_nifti(tr / "FLARE22_LabeledCase50" / "labels" / f"{stem}.nii.gz", lab, geo, "u1")
        r.case(stem, geo, [img], lab, split="train", modality="CT", image_sources=[pi], label_sources=[pl])
    for folder, lo, hi in (("FLARE22_UnlabeledCase1-1000", 1, 1001), ("FLARE22_UnlabeledCase1001-2000", 1001, 2001)):
        num = ids(rng, lo, hi, 1)[0]
        geo = random_geo(rng, "RAS", (0.78125, 0.78125, 5.0))
        img = fill_ct(rng, geo.shape)
        pi = write_nifti(tr / folder / f"Case_{num:05d}_0000.nii.gz", img, geo, "i2")
        r.case(f"Case_{num:05d}", geo, [img], None, accept=[f"{num:05d}"], split="unlabeled", modality="CT",
               image_sources=[pi])
    num = ids(rng, 1, 51, 1)[0]
    geo = random_geo(rng, "LAS", (0.8203125, 0.8203125, 2.5))
    lab = fill_labels(rng, geo.shape, list(range(1, 14)))
    img = fill_ct(rng, geo.shape, lab)
    stem = f"FLARETs_{num:04d}"
    pi = write_nifti(r.root / "Tuning" / "images" / f"{stem}_0000.nii.gz", img, geo, "i2")
    pl = write_nifti(r.root / "Tuning" / "labels" / f"{stem}.nii.gz", lab, geo, "u1")
    r.case(stem, geo, [img], lab, split="validation", modality="CT", image_sources=[pi], label_sources=[pl])
    r.quirk("unlabeled images are named Case_00001, the same names as in AbdomenCT-1K")
    r.quirk("the labelled folder is FLARE22_LabeledCase50; other mirrors use FLARE22Train/images|labels")
    return r.finish()


@dataset("flare23")
def gen_flare23(out, n, seed):
    r = Release(out, "flare23", seed, "MICCAI-FLARE23", FLARE23,
                "labels are partial: a class that is absent may simply not be annotated")
    rng = r.rng
    partial = [[1, 2, 3, 4, 13], [14], list(range(1, 14)), [1, 4, 14], list(range(1, 15))]
    for k, num in enumerate(ids(rng, 1, 2201, n)):
        geo = random_geo(rng, ["LAS", "RAS", "LPS"][k % 3], (0.8203125, 0.8203125, [2.5, 1.25, 5.0][k % 3]))
        lab = fill_labels(rng, geo.shape, partial[k % len(partial)])
        img = fill_ct(rng, geo.shape, lab)
        stem = f"FLARE23_{num:04d}"
        pi = write_nifti(r.root / "imagesTr2200" / f"{stem}_0000.nii.gz", img, geo, "i2")
        pl = write_nifti(r.root / "labelsTr2200" / f"{stem}.nii.gz", lab, geo, "u1")
        extra = {}
        if k == 0:  # corrected label in the fix folder replaces the first one
            pl2 = r.root / "labelsTr2200" / "20230507-fix" / f"{stem}.nii.gz"
            wrong = np.where(lab == partial[0][0], 0, lab)
            write_nifti(pl, wrong, geo, "u1")
            pl = write_nifti(pl2, lab, geo, "u1")
            extra = {"superseded_label": f"labelsTr2200/{stem}.nii.gz"}
        r.case(stem, geo, [img], lab, split="train", modality="CT", image_sources=[pi], label_sources=[pl], **extra)
    num = ids(rng, 2201, 4001, 1)[0]
    geo = random_geo(rng, "LAS", (0.78125, 0.78125, 2.5))
    img = fill_ct(rng, geo.shape)
    pi = write_nifti(r.root / "unlabeledTr1800" / f"FLARE23_{num:04d}_0000.nii.gz", img, geo, "i2")
    r.case(f"FLARE23_{num:04d}", geo, [img], None, split="unlabeled", modality="CT", image_sources=[pi])
    odd = 2 * int(rng.integers(0, 50)) + 1
    for num, has in ((odd, True), (odd + 1, False)):
        geo = random_geo(rng, "LAS", (0.6640625, 0.6640625, 2.0))
        lab = fill_labels(rng, geo.shape, [1, 2, 3, 13, 14])
        img = fill_ct(rng, geo.shape, lab)
        stem = f"FLARE23Ts_{num:04d}"
        pi = write_nifti(r.root / "validation" / f"{stem}_0000.nii.gz", img, geo, "i2")
        pl = [write_nifti(r.root / "val-gt-50cases-for-sanity-check" / f"{stem}.nii.gz", lab, geo, "u1")] if has else []
        r.case(stem, geo, [img], lab if has else None, split="validation", modality="CT", image_sources=[pi],
               label_sources=pl)
    write_text(r.root / "FLARE23Data-ReadMe.md", "synthetic\n")
    r.quirk("labelsTr2200/20230507-fix/ holds corrected labels which replace the file one level up")
    r.quirk("only the 50 odd validation numbers have public labels")
    r.quirk("case numbers of imagesTr2200 and unlabeledTr1800 do not overlap; FLARE23Ts_ would, without its prefix")
    return r.finish()


@dataset("imagetbad")
def gen_imagetbad(out, n, seed):
    r = Release(out, "imagetbad", seed, "imageTBAD", TBAD)
    rng = r.rng
    for k, num in enumerate(ids(rng, 1, 190, n)):
        geo = random_geo(rng, ["LPS", "RAS"][k % 2], (0.25, 0.25, 0.25) if k % 2 else (0.6796875, 0.6796875, 0.75))
        values = [1, 2, 3] if k % 3 != 1 else [1, 2]
        lab = fill_labels(rng, geo.shape, values)
        img = fill_ct(rng, geo.shape, lab)
        pi = write_nifti(r.root / f"{num}_image.nii.gz", img, geo, "i2")
        pl = write_nifti(r.root / f"{num}_label.nii.gz", lab, geo, "u1")
        r.case(str(num), geo, [img], lab, accept=[f"{num}_image", f"ImageTBAD_{num:03d}", f"TBAD_{num}", f"{num:03d}"],
               split="train", modality="CT", image_sources=[pi], label_sources=[pl])
    r.quirk("image and label in one flat folder; replacing 'image' in the whole path breaks on the folder name 'imageTBAD'")
    r.quirk("32 of 100 cases have no FLT (label 3); numbers are not contiguous")
    return r.finish()


@dataset("kits23")
def gen_kits23(out, n, seed):
    r = Release(out, "kits23", seed, "kits23/dataset", KITS)
    rng = r.rng
    meta = []
    nums = ids(rng, 0, 300, max(1, n - n // 2)) + ids(rng, 400, 589, n // 2)
    for k, num in enumerate(nums):
        case = f"case_{num:05d}"
        s = case_size(rng)
        spx = [0.919921875, 0.9765625, 0.810546875, 0.451171875][k % 4]
        spz = [0.5, 3.0, 5.0, 1.0][k % 4]
        # array order (slices, rows, columns): code IPL, origin 0 - as in the official files
        geo = Geo((s[2], s[1], s[0]), (spz, spx, spx), (0.0, 0.0, 0.0), unit_direction("IPL"))
        values = [1, 2, 3] if k % 2 == 0 else [1, 2]
        lab = fill_labels(rng, geo.shape, values)
        img = fill_ct(rng, geo.shape, lab)
        d = r.root / case
        pi = write_nifti(d / "imaging.nii.gz", img, geo, "f8", qform_code=0, sform_code=2)
        pl = write_nifti(d / "segmentation.nii.gz", lab, geo, "u1", qform_code=0, sform_code=2)
        for what, v in (("kidney", (1, 2, 3)), ("tumor", (2,)), ("cyst", (3,))):
            m = np.isin(lab, v).astype(np.uint8)
            if m.any():
                for a in (1, 2, 3):
                    write_nifti(d / "instances" / f"{what}_instance-1_annotation-{a}.nii.gz", m, geo, "f8",
                                qform_code=0, sform_code=2)
        r.case(case, geo, [img], lab, accept=[f"{num:05d}"], split="train", modality="CT",
               image_sources=[pi], label_sources=[pl])
        meta.append({"case_id": case, "gender": "male", "bmi": 29.5, "tumor_histologic_subtype": "clear_cell_rcc"})
    # a case whose imaging was not downloaded yet (git clone brings the labels only)
    num = ids(rng, 300 - 30, 300, 1)[0]
    while num in nums:
        num -= 1
    geo = Geo((10, 20, 20), (3.0, 0.78125, 0.78125), (0, 0, 0), unit_direction("IPL"))
    lab = fill_labels(rng, geo.shape, [1, 2])
    p = write_nifti(r.root / f"case_{num:05d}" / "segmentation.nii.gz", lab, geo, "u1", qform_code=0, sform_code=2)
    r.skip(p, "no imaging.nii.gz: images are downloaded separately", [f"case_{num:05d}", f"{num:05d}", "segmentation"])
    meta.append({"case_id": f"case_{num:05d}", "gender": "female"})
    write_json(r.root / "kits23.json", meta)
    r.quirk("first array axis is the slice axis: nibabel code IPL, spacing (slice, row, column), origin 0,0,0")
    r.quirk("qform_code 0, sform_code 2; imaging is float64 although the values are integers")
    r.quirk("the dataset folder also holds kits23.json and per-annotator files in case_*/instances")
    r.quirk("segmentation.nii.gz comes with git clone, imaging.nii.gz with kits23_download_data")
    return r.finish()


@dataset("luna16")
def gen_luna16(out, n, seed):
    r = Release(out, "luna16", seed, "LUNA16", LUNA,
                "seg-lungs-LUNA16 is an automatic lung segmentation; nodules exist only as points in annotations.csv")
    rng = r.rng
    ann, cand, missing = [], [], []
    for k in range(n):
        uid = "1.3.6.1.4.1.14519.5.2.1.6279.6001." + "".join(str(int(v)) for v in rng.integers(1, 10, 30))
        sub = int(rng.integers(0, 10))
        flipped = k % 2 == 1
        direction = np.diag([-1.0, -1.0, 1.0]) if flipped else np.eye(3)
        geo = Geo(case_size(rng), (0.7617189884185791, 0.7617189884185791, [2.5, 1.25][k % 2]),
                  (175.5, 180.0, -335.25) if flipped else (-198.100006, -195.0, -335.209991), direction)
        lab = fill_labels(rng, geo.shape, [3, 4, 5])
        img = fill_ct(rng, geo.shape, lab)
        pi = write_metaimage(r.root / f"subset{sub}" / f"{uid}.mhd", img, geo)
        pl = write_metaimage(r.root / "seg-lungs-LUNA16" / f"{uid}.mhd", lab.astype(np.int16), geo, compress=True)
        nodules = []
        for _ in range(int(rng.integers(0, 3)) if k else 2):
            ix = [int(rng.integers(3, s - 3)) for s in geo.size]
            p = geo.point(ix)
            dia = float(rng.uniform(3.3, 9.0))
            nodules.append({"coord": [float(v) for v in p], "diameter_mm": dia, "index": ix})
            ann.append([uid] + [repr(float(v)) for v in p] + [repr(dia)])
            cand.append([uid] + [repr(float(v)) for v in p] + [1])
        cand.append([uid, "-60.0", "-70.0", "-300.0", 0])
        r.case(uid, geo, [img], lab, split=f"subset{sub}", modality="CT", image_sources=[pi], label_sources=[pl],
               nodules=nodules)
    for fname, head, rows in (("annotations.csv", ["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"], ann),
                              ("candidates.csv", ["seriesuid", "coordX", "coordY", "coordZ", "class"], cand),
                              ("candidates_V2.csv", ["seriesuid", "coordX", "coordY", "coordZ", "class"], cand),
                              ("sampleSubmission.csv", ["seriesuid", "coordX", "coordY", "coordZ", "probability"], [])):
        with open(r.root / fname, "w", newline="") as f:
            w = csv.writer(f)
            w.writerow(head)
            w.writerows(rows)
    for s in range(10):
        (r.root / f"subset{s}").mkdir(exist_ok=True)
    r.quirk("case name is a SeriesInstanceUID with dots; extension .mhd must be cut, data file is .raw or .zraw")
    r.quirk("14 of 888 scans have TransformMatrix -1 0 0 0 -1 0 0 0 1 (x and y flipped)")
    r.quirk("label values are 3 left lung, 4 right lung, 5 trachea; there is no voxel mask of nodules")
    r.quirk("the subset number is the official 10-fold split")
    return r.finish()


@dataset("lits")
def gen_lits(out, n, seed):
    r = Release(out, "lits", seed, "LiTS", LITS)
    rng = r.rng
    b1 = ids(rng, 0, 28, max(1, n - 1))
    b2 = ids(rng, 28, 48, 1) + ids(rng, 48, 131, 1)
    for k, num in enumerate(b1 + b2):
        folder = "Training Batch 1" if num <= 27 else "Training Batch 2"
        if 28 <= num <= 47:  # identity affine, as released
            geo = Geo(case_size(rng), (1, 1, 1), (0, 0, 0), unit_direction("RAS"))
            geo = geo.copy(origin=(0.0, 0.0, 0.0))
        else:
            geo = random_geo(rng, ["LPS", "LAS", "RAS"][k % 3], (0.703125, 0.703125, [5.0, 1.0, 0.7][k % 3]))
        values = [1, 2] if k % 4 != 2 else [1]
        lab = fill_labels(rng, geo.shape, values)
        img = fill_ct(rng, geo.shape, lab)
        pi = write_nifti(r.root / folder / f"volume-{num}.nii", img, geo, "i2")
        pl = write_nifti(r.root / folder / f"segmentation-{num}.nii", lab, geo, "u1")
        r.case(f"volume-{num}", geo, [img], lab, accept=[str(num), f"liver_{num}", f"lits-train-{num}"], split="train",
               modality="CT", image_sources=[pi], label_sources=[pl])
    num = b1[0] if b1[0] <= 69 else 3  # same number as a training case on purpose
    geo = random_geo(rng, "LPS", (0.7421875, 0.7421875, 1.5))
    img = fill_ct(rng, geo.shape)
    pi = write_nifti(r.root / "LITS-Challenge-Test-Data" / f"test-volume-{num}.nii", img, geo, "i2")
    r.case(f"test-volume-{num}", geo, [img], None, accept=[f"test-{num}", f"test_{num}", f"lits-test-{num}"], split="test",
           modality="CT", image_sources=[pi])
    r.quirk("uncompressed .nii; test-volume-N and volume-N use the same numbers: the bare number is not unique")
    r.quirk("volumes 28-47 (3D-IRCADb) have an identity affine with spacing 1,1,1")
    r.quirk("some training cases have no tumour voxels")
    return r.finish()


def _totalseg(out, n, seed, name, root, classes, image_name, mr=False, header=None):
    r = Release(out, name, seed, root, {0: "background", **{i + 1: c for i, c in enumerate(classes)}},
                "one binary file per class; merged label = 1-based position in the official class map "
                "(map_to_binary), higher number wins where files overlap")
    rng = r.rng
    rows = []
    cases = ids(rng, 0 if not mr else 1, 1430 if not mr else 299, n)
    for k, num in enumerate(cases):
        case = f"s{num:04d}"
        geo = random_geo(rng, "RAS", (1.5, 1.5, 1.5)) if not mr else random_geo(
            rng, ["LPS", "RAS", "LAS"][k % 3], (1.03125, 1.1875, 3.0), tilt=float(rng.uniform(-10, 10)))
        masks = []
        for c in classes:
            m = fill_binary(rng, geo.shape)
            if rng.random() < 0.45:
                m[:] = 0
            masks.append(m)
        # two overlapping pairs in every labelled case
        a, b = 4, 5
        masks[a] = fill_binary(rng, geo.shape, big=True)
        masks[b] = np.roll(masks[a], 2, axis=2)
        if k == n - 1 and mr:
            masks = [np.zeros_like(m) for m in masks]
        last = np.zeros(geo.shape, np.int64)
        first = np.zeros(geo.shape, np.int64)
        alpha_names = sorted(classes)
        alpha = np.zeros(geo.shape, np.int64)
        for i, m in enumerate(masks):
            last[m > 0] = i + 1
            first[(m > 0) & (first == 0)] = i + 1
        for c in alpha_names:  # alphabetical file order, official ids, last wins
            i = classes.index(c)
            alpha[masks[i] > 0] = i + 1
        img = fill_mr(rng, geo.shape, last % 7, floating=False) if mr else fill_ct(rng, geo.shape, last)
        d = r.root / case
        pi = write_nifti(d / image_name, img, geo, "i2", qform_code=1, sform_code=1)
        pls = []
        for c, m in zip(classes, masks):
            pls.append(write_nifti(d / "segmentations" / f"{c}.nii.gz", m, geo, "u1"))
        per_class = {c: int(m.sum()) for c, m in zip(classes, masks) if m.any()}
        e = r.case(case, geo, [img], last, split=["train", "test", "val"][k % 3], modality="MR" if mr else "CT",
                   image_sources=[pi], label_sources=[], policy="class_map_order_last_wins",
                   alternatives={"class_map_order_last_wins": last, "class_map_order_first_wins": first,
                                 "alphabetical_last_wins": alpha})
        e["class_voxels"] = per_class
        e["label_sources"] = ["%s/segmentations/*.nii.gz (%d files)" % (case, len(classes))]
        rows.append([case, "60", "m", "A", "mr abdomen" if mr else "ct abdomen-pelvis", ["train", "test", "val"][k % 3]])
    head = header or ["image_id", "age", "gender", "institute", "study_type", "split"]
    with open(r.root / "meta.csv", "w", encoding="utf-8-sig", newline="") as f:
        w = csv.writer(f, delimiter=";")
        w.writerow(head)
        for row in rows:
            w.writerow(row + [""] * (len(head) - len(row)))
    r.quirk("%d binary files per case; most are empty; files of neighbouring organs overlap" % len(classes))
    r.quirk("meta.csv is ';' separated with a UTF-8 BOM and gives train/val/test")
    if mr:
        r.quirk("some MR subjects have only empty segmentation files")
    return r.finish()


V2_HEAD = ["image_id", "age", "gender", "institute", "study_type", "split", "manufacturer", "scanner_model", "kvp",
           "pathology", "pathology_location"]


@dataset("totalsegmentator_v1")
def gen_ts1(out, n, seed):
    return _totalseg(out, n, seed, "totalsegmentator_v1", "Totalsegmentator_dataset", TS_V1, "ct.nii.gz")


@dataset("totalsegmentator_v2")
def gen_ts2(out, n, seed):
    return _totalseg(out, n, seed, "totalsegmentator_v2", "Totalsegmentator_dataset_v201", TS_V2, "ct.nii.gz", header=V2_HEAD)


@dataset("totalsegmentator_mri_v1")
def gen_tsm1(out, n, seed):
    return _totalseg(out, n, seed, "totalsegmentator_mri_v1", "TotalsegmentatorMRI_dataset_v100", TS_MR1, "mri.nii.gz", mr=True)


@dataset("totalsegmentator_mri_v2")
def gen_tsm2(out, n, seed):
    return _totalseg(out, n, seed, "totalsegmentator_mri_v2", "TotalsegmentatorMRI_dataset_v200", TS_MR2, "mri.nii.gz", mr=True)


@dataset("sa_med2d_20m")
def gen_samed(out, n, seed):
    """2-D PNG images with one binary PNG per instance."""
    from PIL import Image
    r = Release(out, "sa_med2d_20m", seed, "SAMed2Dv1", {0: "background"},
                "per image: value = class id from the mask file name + 1 (class ids start at 0000); "
                "where masks overlap the higher class id wins; the class names differ per source data set (label_map)")
    rng = r.rng
    mapping = {
        "AbdomenCT1K": {"liver": "0000", "kidney": "0001", "spleen": "0002", "pancreas": "0003"},
        "BraTS2021": {"necrosis": "0000", "edema": "0001", "enhancing_tumor": "0002", "union_edema_necrosis": "0011"},
        "ACDC": {"right_ventricle": "0000", "myocardium": "0001", "left_ventricle": "0002", "union_ventricles": "0003"},
        "covid_19_ct_cxr": {"lung": "0000"},
        "isic2018_task1": {"skin_lesion": "0000"},
    }
    pairs = {}
    groups = {}

    def emit(mod, ds, ori, dim, shape, classes, rgb, big=False):
        stem = f"{mod}--{ds}--{ori}--{dim}"
        base = rng.integers(0, 255, shape, endpoint=True).astype(np.uint8)
        if rgb == "gray3":
            arr = np.stack([base] * 3, axis=-1)
        elif rgb == "rgb":
            arr = np.stack([base, np.roll(base, 3, 0), 255 - base], axis=-1)
        else:
            arr = base
        p = r.root / "images" / f"{stem}.png"
        p.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(arr).save(p)
        lab = np.zeros(shape, np.int64)
        files = []
        per_instance = []
        for cid in sorted(classes):
            for inst in range(classes[cid]):
                z = np.zeros(shape, np.uint8)
                h, w = shape
                y0, x0 = int(rng.integers(0, h - 8)), int(rng.integers(0, w - 8))
                hh, ww = int(rng.integers(4, 9)), int(rng.integers(4, 9))
                z[y0:y0 + hh, x0:x0 + ww] = 255
                mp = r.root / "masks" / f"{stem}--{cid:04d}_{inst:03d}.png"
                mp.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(z).save(mp)
                lab[z > 0] = cid + 1
                files.append(f"masks/{mp.name}")
                per_instance.append([mp.name, int((z > 0).sum())])
        pairs[f"images/{stem}.png"] = files
        v, c = np.unique(lab, return_counts=True)
        chans = [arr] if arr.ndim == 2 else [arr[..., i] for i in range(3)]
        prng = np.random.default_rng(zlib.crc32(stem.encode()))
        probes = []
        for _ in range(8):
            x, y = int(prng.integers(shape[1])), int(prng.integers(shape[0]))
            probes.append({"point": [float(x), float(y)], "index": [x, y], "image": [float(ch[y, x]) for ch in chans],
                           "label": int(lab[y, x])})
        r.truth["cases"].append({
            "case": stem, "accept": [stem], "split": "", "modality": mod.split("_")[0], "ndim": 2,
            "n_channels": len(chans), "channels_identical": rgb == "gray3",
            "channel_names": ["gray"] if len(chans) == 1 else ["r", "g", "b"],
            "image_sources": [r.rel(p)], "label_sources": files, "size": [shape[1], shape[0]],
            "spacing": [1.0, 1.0], "origin": [0.0, 0.0], "direction": [1.0, 0.0, 0.0, 1.0],
            "pixels": [{"min": float(ch.min()), "max": float(ch.max()), "mean": float(ch.mean())} for ch in chans],
            "has_label": True, "label_values": [int(i) for i in v],
            "label_counts": {str(int(i)): int(k) for i, k in zip(v, c)}, "label_policy": "class_id_plus_1_last_wins",
            "label_map": {"0": "background", **{str(int(i) + 1): nme for nme, i in mapping[ds].items()}},
            "instances": per_instance, "probes": probes})
        if dim != "2d_none":
            groups.setdefault(f"{mod}--{ds}--{ori}--{dim.split('_')[0]}", []).append(
                {"slice": int(dim.split("_")[1]), "case": stem})

    for k in range(n):
        num = ids(rng, 1, 1000, 1)[0]
        start = int(rng.integers(10, 60))
        for s in (start, start + 1, start + 3):  # a gap: slices without usable masks are left out
            emit("ct_00", "AbdomenCT1K", f"Case_{num:05d}", f"x_{s:04d}", (30, 26), {0: 1, 1: 2}, "gray3")
        emit("ct_00", "AbdomenCT1K", f"Case_{num:05d}", f"z_{start:04d}", (34, 30), {0: 1, 2: 1, 3: 1}, "gray3")
        emit("mr_t1", "BraTS2021", f"BraTS2021_{num:05d}", f"z_{start:04d}", (24, 24), {1: 1, 11: 1}, "gray")
    emit("mr_00", "ACDC", "patient001_frame01", "x_0006", (28, 20), {0: 1, 3: 1}, "gray3")
    emit("x_ray", "covid_19_ct_cxr", "16660_5_1", "2d_none", (40, 36), {0: 2}, "gray")
    emit("dermoscopy_00", "isic2018_task1", "ISIC_0000000", "2d_none", (36, 44), {0: 1}, "rgb")
    write_json(r.root / "SAMed2D_v1.json", pairs)
    write_json(r.root / "SAMed2D_v1_class_mapping_id.json", mapping)
    r.truth["groups"] = {g: sorted(v, key=lambda e: e["slice"]) for g, v in groups.items()}
    r.quirk("2-D PNG: no spacing, no volume; image and masks are linked by SAMed2D_v1.json")
    r.quirk("class id 0000 is a real class, so a merged label map needs an offset of 1")
    r.quirk("several instances (_000, _001) of one class per image; union_* classes overlap single classes")
    r.quirk("masks are 0/255; 2-D sources use '2d_none' instead of '<axis>_<slice>'; slices can have gaps")
    return r.finish()


# --------------------------------------------------------------------------- DICOM


def _uid(rng):
    return "1.3.6.1.4.1.14519.5.2.1.9999.7777." + "".join(str(int(v)) for v in rng.integers(1, 10, 26))


def _save_dicom(ds, path, sop_class, sop_uid, instance_of="1.2.840.10008.1.2.1"):
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = sop_uid
    meta.TransferSyntaxUID = instance_of
    meta.ImplementationClassUID = "1.3.6.1.4.1.14519.9999.1"
    ds.file_meta = meta
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.preamble = b"\0" * 128
    try:
        pydicom.dcmwrite(str(path), ds, enforce_file_format=True)
    except TypeError:  # pydicom 2
        ds.is_little_endian, ds.is_implicit_VR = True, False
        pydicom.dcmwrite(str(path), ds, write_like_original=False)
    return path


def _dicom_base(modality, patient, study, series, sop_class, sop_uid, number, desc, study_desc, date, frame):
    from pydicom.dataset import Dataset
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, sop_uid
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = date
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "101112"
    ds.AccessionNumber = ""
    ds.Modality = modality
    ds.Manufacturer = "SYNTHETIC"
    ds.ManufacturerModelName = "fake"
    ds.SoftwareVersions = "1"
    ds.DeviceSerialNumber = "1"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription, ds.SeriesDescription = study_desc, desc
    ds.PatientName = ds.PatientID = patient
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    ds.StudyID = ""
    if number is not None:
        ds.SeriesNumber = number
    ds.InstanceNumber = 1
    ds.FrameOfReferenceUID = frame
    ds.PositionReferenceIndicator = ""
    return ds


CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
MR_CLASS = "1.2.840.10008.5.1.4.1.1.4"
SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"


def write_ct_series(folder, img, geo: Geo, rng, ctx, order=None, slope=1.0, inter=-1024.0, modality="CT", ext=".dcm",
                    name_fmt="1-{:0{w}d}", skip_slices=(), tweak=None):
    """One file per slice.  geo.direction columns: row, column, slice direction.  Returns SOP UIDs by slice."""
    nz = geo.size[2]
    sops = [_uid(rng) for _ in range(nz)]
    width = max(2, len(str(nz)))
    order = list(order if order is not None else range(nz))
    cls = CT_CLASS if modality == "CT" else MR_CLASS
    for number, z in enumerate(order, 1):
        if z in skip_slices:
            continue
        ds = _dicom_base(modality, ctx["patient"], ctx["study"], ctx["series"], cls, sops[z], ctx["number"], ctx["desc"],
                         ctx["study_desc"], ctx["date"], ctx["frame"])
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.InstanceNumber = number
        ds.AcquisitionNumber = 1
        ds.ImagePositionPatient = [f"{v:.6f}"[:16] for v in geo.point((0, 0, z))]
        ds.ImageOrientationPatient = [f"{v:.10f}"[:16] for v in (*geo.direction[:, 0], *geo.direction[:, 1])]
        ds.SliceLocation = f"{float(np.dot(geo.direction[:, 2], geo.point((0, 0, z)))):.4f}"
        ds.PixelSpacing = [f"{geo.spacing[1]:.8f}"[:16], f"{geo.spacing[0]:.8f}"[:16]]
        ds.SliceThickness = f"{geo.spacing[2]:.4f}"
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.Rows, ds.Columns = geo.size[1], geo.size[0]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        if modality == "CT":
            ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(int(inter)), str(int(slope)), "HU"
            stored = np.rint((img[z].astype(float) - inter) / slope)
            ds.KVP = "120"
        else:
            stored = img[z]
            ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "NONE", "", "2D"
            ds.EchoTime, ds.EchoTrainLength = "10", "1"
        ds.PixelData = stored.astype("<i2").tobytes()
        if tweak:
            tweak(ds, z)
        _save_dicom(ds, Path(folder) / (name_fmt.format(number, w=width) + ext), cls, sops[z])
    return sops


def write_seg(path, masks, names, geo: Geo, sops, rng, ctx, src_series, descending=False):
    """DICOM SEG, binary; masks: list of (z,y,x) uint8, one segment each; only non-empty frames are stored."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence
    sop = _uid(rng)
    ds = _dicom_base("SEG", ctx["patient"], ctx["study"], ctx["series"], SEG_CLASS, sop, ctx["number"], ctx["desc"],
                     ctx["study_desc"], ctx["date"], ctx["frame"])
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "SEGMENTATION", "", "fake"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = geo.size[1], geo.size[0]
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = ds.PixelRepresentation = 0
    ds.LossyImageCompression = "00"
    ds.SegmentationType = "BINARY"

    def code(value, scheme, meaning):
        c = Dataset()
        c.CodeValue, c.CodingSchemeDesignator, c.CodeMeaning = value, scheme, meaning
        return c

    seq = []
    for i, nm in enumerate(names, 1):
        s = Dataset()
        s.SegmentNumber, s.SegmentLabel, s.SegmentAlgorithmType = i, nm, "MANUAL"
        s.SegmentedPropertyCategoryCodeSequence = Sequence([code("123037004", "SCT", "Anatomical Structure")])
        s.SegmentedPropertyTypeCodeSequence = Sequence([code("64033007", "SCT", "Kidney")])
        seq.append(s)
    ds.SegmentSequence = Sequence(seq)
    ref = Dataset()
    ref.SeriesInstanceUID = src_series
    items = []
    for u in sops:
        it = Dataset()
        it.ReferencedSOPClassUID, it.ReferencedSOPInstanceUID = CT_CLASS, u
        items.append(it)
    ref.ReferencedInstanceSequence = Sequence(items)
    ds.ReferencedSeriesSequence = Sequence([ref])
    org = Dataset()
    org.DimensionOrganizationUID = _uid(rng)
    ds.DimensionOrganizationSequence = Sequence([org])
    dims = []
    for ptr, grp in ((0x0062000B, 0x0062000A), (0x00200032, 0x00209113)):
        d = Dataset()
        d.DimensionOrganizationUID = org.DimensionOrganizationUID
        d.DimensionIndexPointer, d.FunctionalGroupPointer = ptr, grp
        dims.append(d)
    ds.DimensionIndexSequence = Sequence(dims)
    shared = Dataset()
    po = Dataset()
    po.ImageOrientationPatient = [f"{v:.10f}"[:16] for v in (*geo.direction[:, 0], *geo.direction[:, 1])]
    shared.PlaneOrientationSequence = Sequence([po])
    pm = Dataset()
    pm.SliceThickness = f"{geo.spacing[2]:.4f}"
    pm.SpacingBetweenSlices = f"{geo.spacing[2]:.4f}"
    pm.PixelSpacing = [f"{geo.spacing[1]:.8f}"[:16], f"{geo.spacing[0]:.8f}"[:16]]
    shared.PixelMeasuresSequence = Sequence([pm])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames, groups = [], []
    for i, m in enumerate(masks, 1):
        zs = [z for z in range(geo.size[2]) if m[z].any()]
        if descending:
            zs = zs[::-1]
        for z in zs:
            frames.append(m[z])
            g = Dataset()
            fc = Dataset()
            fc.DimensionIndexValues = [i, z + 1]
            g.FrameContentSequence = Sequence([fc])
            pp = Dataset()
            pp.ImagePositionPatient = [f"{v:.6f}"[:16] for v in geo.point((0, 0, z))]
            g.PlanePositionSequence = Sequence([pp])
            si = Dataset()
            si.ReferencedSegmentNumber = i
            g.SegmentIdentificationSequence = Sequence([si])
            di, src = Dataset(), Dataset()
            src.ReferencedSOPClassUID, src.ReferencedSOPInstanceUID = CT_CLASS, sops[z]
            src.PurposeOfReferenceCodeSequence = Sequence([code("121322", "DCM", "Source image for image processing operation")])
            di.SourceImageSequence = Sequence([src])
            di.DerivationCodeSequence = Sequence([code("113076", "DCM", "Segmentation")])
            g.DerivationImageSequence = Sequence([di])
            groups.append(g)
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    ds.NumberOfFrames = len(frames)
    bits = np.packbits(np.stack(frames).astype(np.uint8).ravel(), bitorder="little").tobytes()
    ds.PixelData = bits + b"\0" * (len(bits) % 2)
    _save_dicom(ds, path, SEG_CLASS, sop)


def write_rtstruct(path, rois, geo: Geo, sops, rng, ctx, src_series):
    """rois: list of (name, {z: [(i0, j0, i1, j1), ...]}) index rectangles; contours run on voxel borders."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence
    sop = _uid(rng)
    ds = _dicom_base("RTSTRUCT", ctx["patient"], ctx["study"], ctx["series"], RTSTRUCT_CLASS, sop, ctx["number"], ctx["desc"],
                     ctx["study_desc"], ctx["date"], ctx["frame"])
    ds.StructureSetLabel, ds.StructureSetDate, ds.StructureSetTime = "RTSTRUCT", ctx["date"], "101112"
    rfor, rstudy, rseries = Dataset(), Dataset(), Dataset()
    rseries.SeriesInstanceUID = src_series
    imgs = []
    for u in sops:
        d = Dataset()
        d.ReferencedSOPClassUID, d.ReferencedSOPInstanceUID = CT_CLASS, u
        imgs.append(d)
    rseries.ContourImageSequence = Sequence(imgs)
    rstudy.ReferencedSOPClassUID, rstudy.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", ctx["study"]
    rstudy.RTReferencedSeriesSequence = Sequence([rseries])
    rfor.FrameOfReferenceUID = ctx["frame"]
    rfor.RTReferencedStudySequence = Sequence([rstudy])
    ds.ReferencedFrameOfReferenceSequence = Sequence([rfor])
    ssr, rcs, obs = [], [], []
    for i, (nm, rects) in enumerate(rois, 1):
        s = Dataset()
        s.ROINumber, s.ReferencedFrameOfReferenceUID, s.ROIName, s.ROIGenerationAlgorithm = i, ctx["frame"], nm, "MANUAL"
        ssr.append(s)
        c = Dataset()
        c.ROIDisplayColor = [255, 0, 0]
        c.ReferencedROINumber = i
        contours = []
        for z, boxes in sorted(rects.items()):
            for i0, j0, i1, j1 in boxes:
                k = Dataset()
                im = Dataset()
                im.ReferencedSOPClassUID, im.ReferencedSOPInstanceUID = CT_CLASS, sops[z]
                k.ContourImageSequence = Sequence([im])
                k.ContourGeometricType = "CLOSED_PLANAR"
                pts = [(i0 - 0.5, j0 - 0.5), (i1 + 0.5, j0 - 0.5), (i1 + 0.5, j1 + 0.5), (i0 - 0.5, j1 + 0.5)]
                k.NumberOfContourPoints = len(pts)
                k.ContourData = [f"{v:.4f}" for p in pts for v in geo.point((p[0], p[1], z))]
                contours.append(k)
        c.ContourSequence = Sequence(contours)
        rcs.append(c)
        o = Dataset()
        o.ObservationNumber, o.ReferencedROINumber, o.RTROIInterpretedType, o.ROIInterpreter = i, i, "", ""
        obs.append(o)
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = Sequence(ssr), Sequence(rcs), Sequence(obs)
    _save_dicom(ds, path, RTSTRUCT_CLASS, sop)


META_COLUMNS = ["Series UID", "Collection", "3rd Party Analysis", "Data Description URI", "Subject ID", "Study UID",
                "Study Description", "Study Date", "Series Description", "Manufacturer", "Modality", "SOP Class Name",
                "SOP Class UID", "Number of Images", "File Size", "File Location", "Download Timestamp"]


class Tcia:
    """Folder naming of the NBIA Data Retriever ('descriptive' option)."""

    def __init__(self, release, collection):
        self.r, self.collection, self.rows = release, collection, []

    def study(self, patient, desc, date="20010304"):
        rng = self.r.rng
        uid = _uid(rng)
        d = datetime.datetime.strptime(date, "%Y%m%d").strftime("%m-%d-%Y")
        folder = self.r.root / self.collection / patient / f"{d}-NA-{desc}-{uid[-5:]}"
        return {"patient": patient, "study": uid, "study_desc": desc, "date": date, "frame": _uid(rng), "folder": folder,
                "date_us": d}

    def series(self, study, number, desc, modality, files, sop_name="", sop_uid="", n=1):
        uid = _uid(self.r.rng)
        num = f"{number}.000000-" if number is not None else ""
        folder = study["folder"] / f"{num}{desc or 'NA'}-{uid[-5:]}"
        ctx = {**study, "series": uid, "number": number, "desc": desc}
        self.rows.append({"ctx": ctx, "folder": folder, "modality": modality, "sop_uid": sop_uid, "sop_name": sop_name})
        return ctx, folder

    def finish(self, prefix="./"):
        with open(self.r.root / "metadata.csv", "w", newline="") as f:
            w = csv.writer(f)
            w.writerow(META_COLUMNS)
            for row in self.rows:
                c = row["ctx"]
                files = sorted(p for p in row["folder"].iterdir()) if row["folder"].exists() else []
                size = sum(p.stat().st_size for p in files)
                loc = prefix + self.r.rel(row["folder"])
                w.writerow([c["series"], self.collection, "null", "httpsdoi.org10.7937synthetic", c["patient"], c["study"],
                            c["study_desc"], c["date_us"], c["desc"], "SYNTHETIC", row["modality"], row["sop_name"],
                            row["sop_uid"], len(files), f"{size / 1024:.2f} KB", loc, "2024-01-01T00:00:00.000"])
        write_text(self.r.root / f"{self.r.root.name}.tcia",
                   "downloadServerUrl=https://example.invalid/nbia-download/servlet/DownloadServlet\nincludeAnnotation=true\n"
                   "noOfrRetry=4\ndatabasketId=manifest-0.tcia\nmanifestVersion=3.0\nListOfSeriesToDownload=\n"
                   + "\n".join(r["ctx"]["series"] for r in self.rows) + "\n")
        write_text(self.r.root / self.collection / "LICENSE", "synthetic\n")


@dataset("tcga")
def gen_tcga(out, n, seed):
    r = Release(out, "tcga", seed, "manifest-1700000000000", {0: "background"},
                "label value = SegmentNumber (SEG) or ROINumber (RTSTRUCT); names in label_map of the case")
    rng = r.rng
    t = Tcia(r, "TCGA-KIRC")
    for k in range(max(n, 3)):
        patient = f"TCGA-{'ABCDEFGHJK'[k % 10]}{int(rng.integers(1, 9))}-{int(rng.integers(1000, 9999))}"
        st = t.study(patient, ["CT ABDOMEN WO AND W", "Abdomen1APRoutine Adult", "NA"][k % 3])
        d = np.eye(3)
        if k % 3 == 1:  # oblique, right-handed
            d = rotation(0, 12.0)
        geo = Geo((32, 30, 12 + int(rng.integers(0, 3))), (0.78125, 0.703125, [2.5, 5.0, 3.0][k % 3]),
                  (-120.5, -110.25, -300.0), d)
        lab = np.zeros(geo.shape, np.int64)
        img = fill_ct(rng, geo.shape)
        ctx, folder = t.series(st, [2, 3, None][k % 3], ["Abd W  3.0  B40f", "NEPHRO", ""][k % 3], "CT", None,
                               "CT Image Storage", CT_CLASS)
        order = list(range(geo.size[2]))
        if k % 2 == 1:
            order = order[::-1]  # instance numbers run from head to feet
        sops = write_ct_series(folder, img, geo, rng, ctx, order=order)
        extra, pls, alt, lmap = {}, [], None, None
        if k % 3 == 0:  # SEG with two segments which overlap in a few voxels
            m1 = fill_binary(rng, geo.shape, big=True)
            m1[0] = 0
            m2 = np.roll(m1, 5, axis=2) & (np.arange(geo.shape[0])[:, None, None] > 3)
            m2 = m2.astype(np.uint8)
            c2, f2 = t.series(st, 300, "Segmentation", "SEG", None, "Segmentation Storage", SEG_CLASS)
            write_seg(f2 / "1-1.dcm", [m1, m2], ["Kidney", "Mass"], geo, sops, rng, c2, ctx["series"], descending=True)
            lab[m1 > 0] = 1
            lab[m2 > 0] = 2
            first = np.where(m1 > 0, 1, np.where(m2 > 0, 2, 0))
            alt = {"segment_number_last_wins": lab, "segment_number_first_wins": first}
            lmap = {0: "background", 1: "Kidney", 2: "Mass"}
            pls = [f2 / "1-1.dcm"]
            extra = {"annotation": "SEG", "annotation_series": c2["series"]}
        elif k % 3 == 1:  # RTSTRUCT with two rectangular ROIs, the second one made of two islands
            rects1 = {z: [(4, 5, 12, 14)] for z in range(2, 8)}
            rects2 = {z: [(18, 6, 24, 11), (20, 18, 25, 24)] for z in range(4, 10)}
            for rects, v in ((rects1, 1), (rects2, 2)):
                for z, boxes in rects.items():
                    for i0, j0, i1, j1 in boxes:
                        lab[z, j0:j1 + 1, i0:i1 + 1] = v
            c2, f2 = t.series(st, 401, "RTstruct", "RTSTRUCT", None, "RT Structure Set Storage", RTSTRUCT_CLASS)
            write_rtstruct(f2 / "1-1.dcm", [("GTV-1", rects1), ("Kidney Lt", rects2)], geo, sops, rng, c2, ctx["series"])
            lmap = {0: "background", 1: "GTV-1", 2: "Kidney Lt"}
            pls = [f2 / "1-1.dcm"]
            extra = {"annotation": "RTSTRUCT", "annotation_series": c2["series"]}
        has = k % 3 != 2
        r.case(ctx["series"], geo, [img], lab if has else None,
               accept=[patient, f"{patient}_{ctx['series']}", f"{patient}-{ctx['series'][-5:]}"], split="", modality="CT",
               image_sources=[folder], label_sources=pls, alternatives=alt,
               policy="segment_number_last_wins" if alt else None, label_map=lmap, patient=patient, **extra)
        if k % 3 == 0:  # scout with two images must not become a volume
            g2 = Geo((24, 40, 2), (2.0, 2.0, 100.0), (-20, -20, -100), np.eye(3))
            c3, f3 = t.series(st, 1, "Topogram  0.6  T20s", "CT", None, "CT Image Storage", CT_CLASS)

            def loc(ds, z):
                ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            write_ct_series(f3, fill_ct(rng, g2.shape), g2, rng, c3, tweak=loc)
            r.skip(f3, "localizer / topogram with 2 images", [c3["series"], f"{patient}_{c3['series']}"])
        if k % 3 == 1:
            g2 = Geo((24, 24, 8), (1.5, 1.5, 6.0), (-20, -20, -100), np.eye(3))
            c3, f3 = t.series(st, 5, "AX T1", "MR", None, "MR Image Storage", MR_CLASS)
            mr = fill_mr(rng, g2.shape)
            write_ct_series(f3, mr, g2, rng, c3, modality="MR")
            r.case(c3["series"], g2, [mr], None, accept=[f"{patient}_{c3['series']}"], modality="MR", image_sources=[f3],
                   patient=patient, optional=True)
    t.finish()
    r.quirk("series number can be missing: folder is then '<desc>-<last5>'; empty description is written as NA")
    r.quirk("SEG stores only non-empty frames, here in descending order; segments may overlap")
    r.quirk("a patient can have several series; the patient id is not a unique case name")
    r.quirk("file order is not slice order: sort by ImagePositionPatient along the normal")
    r.quirk("MR series in the same collection are marked optional=true in expected.json")
    return r.finish()


# --------------------------------------------------------------------------- bonus targets


@dataset("msd")
def gen_msd(out, n, seed, tasks=("Task01_BrainTumour", "Task04_Hippocampus", "Task05_Prostate", "Task09_Spleen", "Task10_Colon")):
    r = Release(out, "msd", seed, "MSD", {0: "background"}, "labels per task: see label_map of each case")
    rng = r.rng
    for task in tasks:
        t = MSD[task]
        td = r.root / task
        train, test = [], []
        nums = ids(rng, 1, 200, n + 1)

        def stem_of(num):
            return f"{t['prefix']}_{num:0{t['pad']}d}" if t["pad"] else f"{t['prefix']}_{num}"
        ct = t["modality"].get("0") == "CT"
        nch = len(t["modality"])
        for k, num in enumerate(nums):
            is_test = k == n
            stem = stem_of(num)
            sp = (1.0, 1.0, 1.0) if task in ("Task01_BrainTumour", "Task04_Hippocampus") else (0.625, 0.625, 3.6)
            geo = random_geo(rng, "RAS" if not ct else "LAS", sp)
            vals = [int(v) for v in t["labels"] if v != "0"]
            lab = fill_labels(rng, geo.shape, vals)
            if ct:
                chans = [fill_ct(rng, geo.shape, lab)]
            else:
                chans = [fill_mr(rng, geo.shape, lab, 1 + 0.2 * c, floating=True) for c in range(nch)]
            if not ct:
                chans = [np.round(c, 3).astype(np.float32) for c in chans]
            sub = "imagesTs" if is_test else "imagesTr"
            dtype = "i2" if ct and task != "Task10_Colon" else "f4"
            if nch > 1:
                p = write_nifti(td / sub / f"{stem}.nii.gz", np.stack(chans), geo, "f4")
            else:
                p = write_nifti(td / sub / f"{stem}.nii.gz", chans[0], geo, dtype)
            apple_double(td / sub / f"._{stem}.nii.gz")
            pl = []
            if not is_test:
                pl = [write_nifti(td / "labelsTr" / f"{stem}.nii.gz", lab, geo, "f4" if task == "Task10_Colon" else "u1")]
                apple_double(td / "labelsTr" / f"._{stem}.nii.gz")
                train.append({"image": f"./imagesTr/{stem}.nii.gz", "label": f"./labelsTr/{stem}.nii.gz"})
            else:
                test.append(f"./imagesTs/{stem}.nii.gz")
            r.case(stem, geo, chans, None if is_test else lab, accept=[f"{task}_{stem}", f"{task}/{stem}"], split="test" if is_test else "train",
                   modality="CT" if ct else "MR", channel_names=list(t["modality"].values()), image_sources=[p],
                   label_sources=pl, label_map={int(a): b for a, b in t["labels"].items()}, task=task)
        js = {"name": t["name"], "description": "synthetic", "reference": "", "licence": "CC-BY-SA 4.0",
              ("relase" if task in ("Task02_Heart", "Task04_Hippocampus", "Task05_Prostate", "Task06_Lung", "Task07_Pancreas") else "release"): "1.0 04/05/2018",
              "tensorImageSize": t["dim"], "modality": t["modality"], "labels": t["labels"], "numTraining": len(train),
              "numTest": len(test), "training": train, "test": test}
        write_json(td / "dataset.json", js)
        apple_double(td / "._dataset.json")
        apple_double(td / "._imagesTr")
        r.skip(f"{task}/imagesTr/._*", "AppleDouble files shipped in the official tar archives")
    r.quirk("each official tar holds '._*' AppleDouble files next to every file, also '._x.nii.gz'")
    r.quirk("Task01 and Task05 are 4-D: channels in the last NIfTI dimension")
    r.quirk("Task10 images and labels are float32")
    r.quirk("dataset.json paths start with './'; the key is 'relase' in some tasks; licence is spelled 'licence'")
    return r.finish()


@dataset("amos22")
def gen_amos(out, n, seed):
    r = Release(out, "amos22", seed, "amos22", AMOS, "15 is prostate in male and uterus in female patients")
    rng = r.rng
    js = {"name": "AMOS", "description": "synthetic", "author": "", "reference": "", "licence": "CC-BY-SA 4.0",
          "release": "1.0 01/05/2022", "tensorImageSize": "3D", "modality": {"0": "CT"},
          "labels": {str(k): v for k, v in AMOS.items()}, "training": [], "validation": [], "test": []}
    plan = [("Tr", i, "CT") for i in ids(rng, 1, 411, n)] + [("Tr", ids(rng, 507, 580, 1)[0], "MR"),
                                                            ("Va", ids(rng, 1, 410, 1)[0], "CT"), ("Va", ids(rng, 580, 601, 1)[0], "MR"),
                                                            ("Ts", ids(rng, 411, 500, 1)[0], "CT")]
    seen = set()
    for k, (sub, num, mod) in enumerate(plan):
        while num in seen:
            num += 1
        seen.add(num)
        geo = random_geo(rng, ["LAS", "LPS", "RAS"][k % 3], (0.68359375, 0.68359375, 5.0) if mod == "CT" else (1.1875, 1.1875, 3.0))
        vals = list(range(1, 16)) if mod == "CT" else list(range(1, 14))
        lab = fill_labels(rng, geo.shape, vals)
        img = fill_ct(rng, geo.shape, lab) if mod == "CT" else fill_mr(rng, geo.shape, lab)
        stem = f"amos_{num:04d}"
        p = write_nifti(r.root / f"images{sub}" / f"{stem}.nii.gz", img, geo, "i2")
        pl = [write_nifti(r.root / f"labels{sub}" / f"{stem}.nii.gz", lab, geo, "u1")] if sub != "Ts" else []
        item = {"image": f"./images{sub}/{stem}.nii.gz"}
        if pl:
            item["label"] = f"./labels{sub}/{stem}.nii.gz"
        js[{"Tr": "training", "Va": "validation", "Ts": "test"}[sub]].append(item)
        r.case(stem, geo, [img], lab if pl else None, accept=[f"{num:04d}"], split={"Tr": "train", "Va": "validation", "Ts": "test"}[sub],
               modality=mod, image_sources=[p], label_sources=pl)
    js["numTraining"], js["numValidation"], js["numTest"] = len(js["training"]), len(js["validation"]), len(js["test"])
    write_json(r.root / "dataset.json", js)
    write_text(r.root / "readme.md", "synthetic\n")
    r.quirk("looks like nnU-Net but images have no _0000 suffix and there is imagesVa/labelsVa")
    r.quirk("CT and MR share one folder: numbers up to 500 are CT, larger ones MR")
    return r.finish()


@dataset("btcv")
def gen_btcv(out, n, seed):
    r = Release(out, "btcv", seed, "Abdomen/RawData", BTCV)
    rng = r.rng
    for k, num in enumerate(choose(rng, list(range(1, 11)) + list(range(21, 41)), n)):
        geo = random_geo(rng, "LAS", (0.9765620231628418, 0.9765620231628418, [3.0, 2.5][k % 2]))
        vals = [v for v in range(1, 14) if not (k % 2 == 1 and v in (2, 4))]
        lab = fill_labels(rng, geo.shape, vals)
        img = fill_ct(rng, geo.shape, lab)
        p = write_nifti(r.root / "Training" / "img" / f"img{num:04d}.nii.gz", img, geo, "f4")
        pl = write_nifti(r.root / "Training" / "label" / f"label{num:04d}.nii.gz", lab, geo, "u1")
        r.case(f"img{num:04d}", geo, [img], lab, accept=[f"{num:04d}", f"ABD_{num:03d}", f"BTCV_{num:04d}"], split="train", modality="CT",
               image_sources=[p], label_sources=[pl])
    num = ids(rng, 61, 81, 1)[0]
    geo = random_geo(rng, "LAS", (0.8203125, 0.8203125, 3.0))
    img = fill_ct(rng, geo.shape)
    p = write_nifti(r.root / "Testing" / "img" / f"img{num:04d}.nii.gz", img, geo, "f4")
    r.case(f"img{num:04d}", geo, [img], None, accept=[f"{num:04d}", f"ABD_{num:03d}", f"BTCV_{num:04d}"], split="test", modality="CT", image_sources=[p])
    r.quirk("image prefix img, label prefix label: pair by number")
    r.quirk("right kidney or gallbladder can be missing in a patient")
    return r.finish()


@dataset("word")
def gen_word(out, n, seed):
    r = Release(out, "word", seed, "WORD-V0.1.0", WORD)
    rng = r.rng
    plan = [("Tr", i) for i in ids(rng, 1, 150, n)]
    used = {i for _, i in plan}
    for sub in ("Val", "Ts"):
        i = ids(rng, 1, 150, 1)[0]
        while i in used:
            i = i % 149 + 1
        used.add(i)
        plan.append((sub, i))
    for k, (sub, num) in enumerate(plan):
        geo = random_geo(rng, "LPS", (0.9765625, 0.9765625, [3.0, 2.5][k % 2]))
        lab = fill_labels(rng, geo.shape, range(1, 17))
        img = fill_ct(rng, geo.shape, lab)
        stem = f"word_{num:04d}"
        p = write_nifti(r.root / f"images{sub}" / f"{stem}.nii.gz", img, geo, "i2")
        pl = write_nifti(r.root / f"labels{sub}" / f"{stem}.nii.gz", lab, geo, "u1")
        r.case(stem, geo, [img], lab, accept=[f"{num:04d}"], split={"Tr": "train", "Val": "validation", "Ts": "test"}[sub], modality="CT",
               image_sources=[p], label_sources=[pl])
    r.quirk("the validation folders are imagesVal/labelsVal (AMOS: imagesVa)")
    return r.finish()


@dataset("nnunet")
def gen_nnunet(out, n, seed):
    r = Release(out, "nnunet", seed, "Dataset123_FakeTumor", {0: "background", 1: "edema", 2: "core", 3: "enhancing"})
    rng = r.rng
    for k, num in enumerate(ids(rng, 1, 900, n + 1)):
        is_test = k == n
        stem = f"patient_{num:03d}" + ("_01" if k == 0 else "")
        geo = random_geo(rng, ["RAS", "LPS", "LAS"][k % 3], (1.0, 0.9375, 3.0), tilt=5.0 * k)
        lab = fill_labels(rng, geo.shape, [1, 2, 3])
        chans = [fill_mr(rng, geo.shape, lab, 1.0), fill_mr(rng, geo.shape, lab, 0.6)]
        sub = "imagesTs" if is_test else "imagesTr"
        ps = [write_nifti(r.root / sub / f"{stem}_{c:04d}.nii.gz", ch, geo, "i2") for c, ch in enumerate(chans)]
        pl = [] if is_test else [write_nifti(r.root / "labelsTr" / f"{stem}.nii.gz", lab, geo, "u1")]
        r.case(stem, geo, chans, None if is_test else lab, split="test" if is_test else "train", modality="MR",
               channel_names=["T2", "ADC"], image_sources=ps, label_sources=pl)
    write_json(r.root / "dataset.json", {
        "channel_names": {"0": "T2", "1": "ADC"}, "labels": {"background": 0, "whole": [1, 2, 3], "tumor": [2, 3], "enhancing": 3},
        "regions_class_order": [1, 2, 3], "numTraining": n, "file_ending": ".nii.gz", "overwrite_image_reader_writer": "SimpleITKIO",
        "name": "FakeTumor", "licence": "none"})
    r.quirk("one file per channel: <case>_0000, <case>_0001; a case name may itself end in _01")
    r.quirk("labels in dataset.json map name -> int, or name -> list of ints for regions (here regions)")
    return r.finish()


# --------------------------------------------------------------------------- command line


def make(name, out, cases=2, seed=0):
    if name not in GENERATORS:
        raise SystemExit(f"unknown data set {name!r}; known: {', '.join(sorted(GENERATORS))}")
    if cases < 1:
        raise SystemExit("--cases must be at least 1")
    return GENERATORS[name](Path(out), cases, seed)


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("name", nargs="?", help="data set name, or 'all'")
    ap.add_argument("out", nargs="?", help="output folder (must not contain a release yet)")
    ap.add_argument("--cases", type=int, default=2)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--list", action="store_true")
    a = ap.parse_args(argv)
    if a.list:
        print("\n".join(sorted(GENERATORS)))
        return 0
    if not a.name or not a.out:
        ap.error("NAME and OUT are required")
    for name in (sorted(GENERATORS) if a.name == "all" else [a.name]):
        out = Path(a.out) / name if a.name == "all" else Path(a.out)
        t = make(name, out, a.cases, a.seed)
        print(f"{name}: {len(t['cases'])} cases in {out / t['root']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
