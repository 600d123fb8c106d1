"""The report of ``itkit doctor`` may be pasted anywhere."""

import getpass
import platform
import re
import sys
from pathlib import Path

import pytest

from itkit.cli import doctor, umbrella
from itkit.cli.verbs import VERBS


def test_no_path_user_or_host_is_in_it(monkeypatch, capsys):
    told = "bad 1.0: can't open '/home/ann/secret/x.so' of ann on ward-7"
    monkeypatch.setattr(doctor, "describe_registered", lambda: ({}, (told,)))
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    monkeypatch.setattr(platform, "node", lambda: "ward-7")
    monkeypatch.setenv("ITKIT_CODECS", "isal")
    monkeypatch.setenv("ITKIT_TOKEN", "hunter2")
    monkeypatch.setenv("ITKIT_CACHE", "/home/ann/cache")
    assert umbrella.main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in (str(Path.home()), sys.prefix, str(Path.cwd()), "/home", "hunter2", "secret", "ward-7"):
        assert word == "/" or word not in out
    assert re.search(r"\bann\b", out) is None
    assert re.search(r"(?<![\w.…])/\w|[A-Z]:\\", out) is None, out
    assert "ITKIT_CACHE (set), ITKIT_CODECS=isal, ITKIT_TOKEN (set)" in out
    assert "of <user> on <host>" in out


def test_every_extra_stands_apart_from_its_package_and_every_verb_is_listed(capsys):
    assert umbrella.main(["doctor"]) == 0
    out = capsys.readouterr().out
    for extra, package, _ in doctor.optional_packages():
        assert f"  {extra} " in out
        assert f" {package} " in out
    assert umbrella.main(["list"]) == 0
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert VERBS.keys() <= listed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no file /a/b/c.so here", "no file …/c.so here"),
        ("'C:\\Users\\ann\\x.dll' fails", "'…/x.dll' fails"),
        ("\\\\server\\share\\x.nii", "…/x.nii"),
        ("~/x and ~ann/y", "…/x and …/y"),
        ("see file:///home/ann/x.whl", "see …/x.whl"),
        ("1/2 of a/b, 3 / 4, https://example.org/x", "1/2 of a/b, 3 / 4, https://example.org/x"),
        ("no 'C:\\Users\\Ann Lee\\my x.dll', no \"/a b/c d/e.so\"", "no '…/my x.dll', no \"…/e.so\""),
        ("'a' / 'b' of 'x/y'", "'a' / 'b' of 'x/y'"),
        ("in (/a/b), <frozen /a/b>", "in (…/b), <frozen …/b>"),
    ],
)
def test_paths_lose_their_folders(text, expected, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "")
    assert doctor.anonymous(text) == expected


def test_it_says_how_itkit_is_installed_and_which_packages_there_are():
    text = doctor.report()
    assert re.search(r"^itkit +\d+\.\d+\.\d+\S* \((installed|from a checkout|not installed)\)$", text, re.MULTILINE)
    assert re.search(r"^  base +SimpleITK +\d", text, re.MULTILINE)
    assert re.search(r"^  all +itkit", text, re.MULTILINE) is None


def test_a_user_without_a_name_is_no_fault(monkeypatch):
    def nobody():
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert doctor.anonymous("x") == "x"


def test_a_home_with_a_blank_is_not_told(monkeypatch):
    monkeypatch.setenv("HOME", "/home/Ann Lee")
    monkeypatch.setenv("USERPROFILE", "/home/Ann Lee")
    assert doctor.anonymous("no /home/Ann Lee/x/y.so, ok") == "no …/y.so, ok"


def test_names_of_user_and_host_are_found_in_parts_of_names(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    monkeypatch.setattr(platform, "node", lambda: "Ward7.hospital.example")
    told = doctor.anonymous("Ann, ann_net, itkit-ann 1.0+ward7, annual, ward7.hospital.example")
    assert told == "<user>, <user>_net, itkit-<user> 1.0+<host>, annual, <host>"
    monkeypatch.setattr(doctor, "plugged_in", lambda: ([("network", "ann_net", "itkit-ann 1.0+ward7")], []))
    assert re.search(r"network +<user>_net +itkit-<user> 1\.0\+<host>", doctor.report())


def test_values_of_settings_that_may_be_a_key_or_a_name_are_not_told(monkeypatch):
    for name in ("ITKIT_KEY", "ITKIT_CACHE", "ITKIT_OF_TOMORROW"):
        monkeypatch.setenv(name, "hunter2")
    assert "hunter2" not in doctor.report()


def test_a_checkout_that_is_not_installed_has_a_report(monkeypatch):
    def missing(name):
        raise doctor.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", missing)
    monkeypatch.setattr(doctor, "distribution", missing)
    assert "(not installed)" in doctor.report()


def test_the_user_of_our_image_is_nobody(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "itkit")
    assert doctor.anonymous("itkit-tools 1.0") == "itkit-tools 1.0"
