"""Entry points of other packages: found by group, refused by name, named when they fail."""

import subprocess
import sys

import pytest


@pytest.fixture
def install(tmp_path):
    """Install a package that has these modules and entry points; returns a Python that sees it."""

    def make(name, modules, entry_points):
        site = tmp_path / "site"
        (info := site / f"{name}-1.0.dist-info").mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        for module, text in modules.items():
            (site / f"{module}.py").write_text(text)

        def python(code):
            start = f"import sys; sys.path.insert(0, {str(site)!r}); from itkit.core.plugins import find_plugins; "
            call = [sys.executable, "-c", start + code]
            return subprocess.run(call, capture_output=True, text=True, check=True).stdout.splitlines()

        return python

    return make


def test_a_plug_in_is_found_by_its_group_and_loaded(install):
    python = install("one", {"of_one": "THING = 41"}, "[group.a]\nthing = of_one:THING\n[group.b]\nother = nowhere:X\n")
    code = "found = find_plugins('group.a'); print(sorted(found.by_name), found.by_name['thing'].load(), found.refused)"
    assert python(code) == ["['thing'] 41 ()"]


def test_a_taken_name_is_refused_by_name_and_others_stay(install):
    python = install("two", {}, "[g]\nours = a:B\nfree = c:D\n")
    code = "found = find_plugins('g', {'ours'}); print(sorted(found.by_name)); print(*found.refused)"
    assert python(code) == ["['free']", "two 1.0: the name 'ours' (g) is taken by ITKIT; the package must rename it"]


def test_a_name_that_is_not_one_word_of_a_shell_is_refused(install):
    python = install("six", {}, "[g]\nmy op = a:B\nit's = a:B\n$(date) = a:B\n-x = a:B\nnet-2.0_a = c:D\n")
    said = python("found = find_plugins('g'); print(*found.by_name); print(*found.refused, sep='\\n')")
    assert said[0] == "net-2.0_a"
    wrong = ("'$(date)'", "'-x'", '"it\'s"', "'my op'")
    assert said[1:] == [f"six 1.0: the name {name} (g) may hold letters, digits and _ . + - alone" for name in wrong]


def test_one_name_of_two_packages_is_refused(install):
    install("three", {}, "[g]\nx = a:B\n")
    python = install("four", {}, "[g]\nx = a:B\n")
    code = "found = find_plugins('g'); print(found.by_name, *found.refused)"
    assert python(code) == ["{} four 1.0 and three 1.0: all register 'x' (g); uninstall all but one"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("raise SystemError('no licence')", "SystemError: no licence"), ("", "AttributeError"), (None, "ModuleNotFound")],
)
def test_a_broken_plug_in_is_named(install, text, said):
    python = install("five", {} if text is None else {"of_five": text}, "[g]\nx = of_five:THING\n")
    code = (
        "from itkit.core.errors import PluginError\n"
        "try: find_plugins('g').by_name['x'].load()\n"
        "except PluginError as error: print(error)"
    )
    (line,) = python(code)
    assert line.startswith("five 1.0: of_five:THING of the plug-in 'x' fails: ")
    assert said in line
