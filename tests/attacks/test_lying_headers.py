"""Headers that name what is not theirs, or claim what can't be: one named failure, the other volumes are made."""

import os

import pytest
from attack_data import first_quick, folder_with, made, meta, nrrd

SECRET = b"not-for-the-dataset-"
SIZES, SLOPE = "4 4 5", "ElementToIntensityFunctionSlope = 1.01\n"
OUTSIDE = {
    "dotdot.mha": lambda secret: meta(SIZES, "../secret/key"),
    "absolute.mhd": lambda secret: meta(SIZES, secret),
    "tail.mha": lambda secret: meta(SIZES, secret, more="HeaderSize = -1\n"),
    "list.mha": lambda secret: meta("4 4 2", f"LIST\n{secret}\n{secret}"),
    "slope.mhd": lambda secret: meta(SIZES, secret, more=SLOPE),
    "link.mha": lambda secret: meta(SIZES, "innocent.raw"),
    "above.nhdr": lambda secret: nrrd(SIZES, "../secret/key"),
    "elsewhere.nrrd": lambda secret: nrrd(SIZES, secret),
    "skip.nhdr": lambda secret: nrrd(SIZES, secret, more="byte skip: -1\n"),
    "text.nrrd": lambda secret: nrrd("2 2 2", secret, encoding="ascii"),
}
CLAIMS = {
    "axes of 2^31": ("bad.mha", meta("2 2 2", "LOCAL", dims=2**31) + "x" * 8),
    "65536 axes": ("bad.mha", meta("2 2 2", "LOCAL", dims="65536 65536", binary="False", kind="MET_SHORT") + "1 2 3 4"),
    "no axes": ("bad.mha", meta("2 2 2", "LOCAL", dims=-1, binary="False") + "1 2 3 4 5 6 7 8"),
    "4e9 numbers as text": ("bad.mha", meta("2000 2000 1000", "LOCAL", binary="False") + "1 2 3\n"),
    "4e9 numbers in NRRD": ("bad.nrrd", nrrd("2000 2000 1000", "", encoding="ascii") + "1 2 3\n"),
    "6e9 bytes in two": ("bad.mha", meta("4000 4000 400", "LOCAL") + "xx"),
    "a slope over them": (
        "bad.mha",
        meta("4000 4000 400", "LOCAL", more="ElementToIntensityFunctionSlope = 2\n") + "xx",
    ),
    "a stream of gigabytes": ("bad.nrrd", nrrd("4000 4000 400", "", encoding="gzip") + "xx"),
}
FORMATS = ("%s%s%s%n", "%1000000d", "no%snum%n.raw 1 2 1", "x\x1b[31m.raw")
PIPES = {
    "a pipe": ("bad.mhd", meta("2 2 2", "pipe")),
    "pipes in a list": ("bad.mhd", meta("2 2 2", "LIST\npipe\npipe")),
    "a pipe after lines": ("bad.nhdr", nrrd("2 2 2", "pipe", more="line skip: 1\n")),
    "/dev/zero after lines": ("bad.nhdr", nrrd("2 2 2", "/dev/zero", more="line skip: 1\n")),
    "/dev/zero as text": ("bad.nhdr", nrrd("2 2 2", "/dev/zero", encoding="ascii")),
}


def fails_alone(ended, out):
    return ended.is_calm and ended.code == 1 and sorted(made(out)) == ["good_a.mha", "good_b.mha"]


def test_no_byte_of_a_file_elsewhere_reaches_anything(attacked, tmp_path):
    secret, source = tmp_path / "secret" / "key", tmp_path / "in"
    secret.parent.mkdir()
    secret.write_bytes(SECRET * 40)
    source.mkdir()
    (source / "innocent.raw").symlink_to("../secret/key")
    folder_with(source, {name: header(str(secret)) for name, header in OUTSIDE.items()})
    for number, (name, *arguments) in enumerate(
        (
            ("itk_convert", "format", source, "OUT", "--compression", "none"),
            ("itk_orient", source, "OUT", "RAS", "--compression", "none"),
            ("itk_resample", "image", source, "OUT", "--spacing", 2, 1, 1, "--compression", "none"),
        )
    ):
        out = tmp_path / f"out_{number}"
        ended = attacked(name, *(out if word == "OUT" else word for word in arguments))
        assert fails_alone(ended, out), ended
        assert SECRET.decode() not in ended.text
        assert not [path for path in out.rglob("*") if path.is_file() and SECRET in path.read_bytes()]
    ended = attacked("itk_check", "check", source, "--deep")
    assert ended.is_calm
    lines = [line.split(": ")[0] for line in ended.text.splitlines()]
    assert {name.partition(".")[0] for name in OUTSIDE} <= set(lines), ended


@pytest.mark.parametrize("what", first_quick(CLAIMS))
def test_claims_that_no_file_can_hold(attacked, tmp_path, what):
    source = folder_with(tmp_path / "in", dict([CLAIMS[what]]))
    ended = attacked("itk_orient", source, tmp_path / "out", "RAS", "--workers", 2 if "axes" in what else 1)
    assert fails_alone(ended, tmp_path / "out"), ended
    ended = attacked("itk_check", "check", source)
    assert ended.is_calm
    assert ended.code == 1
    assert "bad: " in ended.text


@pytest.mark.parametrize("name", first_quick(FORMATS))
def test_names_that_a_c_library_takes_for_formats(attacked, tmp_path, name):
    source = folder_with(tmp_path / "in", {"bad.mha": meta("2 2 2", name) + "x" * 8})
    ended = attacked("itk_orient", source, tmp_path / "out", "RAS")
    assert fails_alone(ended, tmp_path / "out"), ended
    assert "failed: bad" in ended.text
    assert "\x1b" not in ended.text


@pytest.mark.parametrize("what", first_quick(PIPES))
def test_data_files_that_never_end(attacked, tmp_path, what):
    source = folder_with(tmp_path / "in", dict([PIPES[what]]))
    os.mkfifo(source / "pipe")
    ended = attacked("itk_orient", source, tmp_path / "out", "RAS")
    assert fails_alone(ended, tmp_path / "out"), ended


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v.mha", "v.mhd", "v.nrrd", "v.nhdr"])
def test_a_data_file_that_is_replaced_is_read_again(attacked, tmp_path, name):
    header = meta("2 2 2", "v.dat") if name.startswith("v.m") else nrrd("2 2 2", "v.dat")
    source, out = folder_with(tmp_path / "in", {name: header, "v.dat": bytes(range(8))}), tmp_path / "out"
    assert attacked("itk_orient", source, out, "RAS").code == 0
    before = made(out)["v.mha"]
    (source / "v.dat").write_bytes(bytes(range(8, 16)))
    assert attacked("itk_orient", source, out, "RAS").code == 0
    assert made(out)["v.mha"] != before


@pytest.mark.slow
@pytest.mark.parametrize("how", ["copy", "symlink"])
@pytest.mark.parametrize("name", ["v.mha", "v.mhd", "v.nrrd"])
def test_a_copy_of_a_header_takes_its_data_along(attacked, tmp_path, name, how):
    header = meta("2 2 2", "v.dat") if name.startswith("v.m") else nrrd("2 2 2", "v.dat")
    source, out = folder_with(tmp_path / "in", {name: header, "v.dat": bytes(range(8))}), tmp_path / "out"
    ended = attacked("itk_check", how, source, "-o", out)
    assert ended.is_calm
    taken = list(out.rglob(name))
    assert (
        (attacked("itk_check", "check", out, "--deep").code == 0) if taken else (ended.code == 1 and "v" in ended.text)
    )
