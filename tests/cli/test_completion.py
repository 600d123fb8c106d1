"""What shells complete: bash runs what it is given; zsh and fish, too, where they are installed."""

import os
import pty
import select
import shutil
import subprocess
import time
from typing import Annotated, Literal

import pytest

from itkit.cli import completion
from itkit.cli.completion import _SCRIPTS, CompletionParams, run
from itkit.cli.shells.grammar import Grammar, Values, grammar, values_of
from itkit.core.fields import Positional
from itkit.core.params import Params
from itkit.models.registry import list_models

KINDS = ["image", "label", "dataset"]
LINES = {
    "itk_resample ": KINDS,
    "itk_resample im": ["image"],
    "itk_resample image raw": ["raw"],
    "itk_resample image raw out --interp": ["--interpolation"],
    "itk_resample image --interpolation ": ["linear", "nearest", "bspline"],
    "itk_resample image --interpolation n": ["nearest"],
    "itk_resample --spacing 1 -1 2 ": KINDS,
    "itk_resample --spacing 1 -1 ": [],
    "itk_resample image raw out --dry": ["--dry-run"],
    "/usr/bin/itk_check del": ["delete"],
    "itk_check check --labels -1 0 2 --same-si": ["--same-size"],
    "itkit resam": ["resample"],
    "itkit resample image a b --existing r": ["redo"],
    "itkit orient raw out LP": ["LPS", "LPI"],
    "itkit enhance raw out --normalize z": ["zscore"],
    "itkit bench m.onnx --backends torch on": ["onnx"],
    "itkit convert-dataset kit": ["kits23"],
    "itkit convert-dataset kits23 --spac": ["--spacing"],
    "itkit convert-dataset brats2024_ped a b --vari": ["--variant"],
    "itkit plan raw --network mednext_": ["mednext_b", "mednext_l", "mednext_m", "mednext_s"],
    "itkit train p.toml --strategy d": ["ddp"],
    "itkit help resam": ["resample"],
    "itkit completion ": ["bash", "zsh", "fish"],
    "itkit-web --roo": ["--root"],
    "itkit-web --root my": ["my data"],
    "itkit-app --che": ["--check"],
    "mmrun --config-r": ["--config-root"],
    "itkit rerun a": ["a b.toml"],
}
"""Lines as they are typed, and what may come in the place of the last word."""


@pytest.fixture(scope="module")
def known():
    return grammar()


@pytest.fixture(scope="module")
def scripts(tmp_path_factory, known):
    """The scripts in files, beside what there is to be named."""
    folder = tmp_path_factory.mktemp("completion")
    for name in ("raw", "my data"):
        (folder / name).mkdir()
    (folder / "a b.toml").touch()
    for shell, make in _SCRIPTS.items():
        (folder / f"itkit.{shell}").write_text(make(known))
    return folder


def said(call, cwd):
    return subprocess.run(call, cwd=cwd, capture_output=True, text=True, check=True, timeout=60)


def test_bash_completes_every_line(scripts):
    probe = ["source ./itkit.bash", 'try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _itkit_complete; ']
    probe[1] += 'IFS="|"; echo "${COMPREPLY[*]}"; unset IFS; }'
    for line in LINES:
        *words, last = line.split(" ")
        probe.append("try " + " ".join([*words, f"'{last}'"]))
    done = said(["bash", "-c", "\n".join(probe)], scripts)
    found = dict(zip(LINES, (text.split("|") if text else [] for text in done.stdout.splitlines()), strict=True))
    assert found == LINES
    assert done.stderr == ""


def test_bash_completes_what_follows_an_equals_sign(scripts):
    """Bash itself makes three words of it."""
    probe = "COMP_WORDS=(itk_resample --ext = .nii.); COMP_CWORD=3; _itkit_complete; echo ${COMPREPLY[*]}"
    assert said(["bash", "-c", f"source ./itkit.bash; {probe}"], scripts).stdout == ".nii.gz\n"


def typed(call, cwd, prepare, line, expected):
    """Type a line and a tab at a shell, and wait for what it is to make of the line."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(cwd)
        os.environ.update(TERM="dumb", HOME=str(cwd), INPUTRC=os.devnull)
        os.execvp(call[0], call)
    try:
        os.write(terminal, f"{prepare}; PS1='he''re> '\n".encode())
        wait_for(terminal, "here> ")
        os.write(terminal, f"{line}\t".encode())
        wait_for(terminal, expected)
    finally:
        os.write(terminal, b"\x15exit\n")
        os.close(terminal)
        os.waitpid(process, 0)


def wait_for(terminal, expected):
    text, end = "", time.monotonic() + 120
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            text += os.read(terminal, 4096).decode(errors="replace")
            if expected in text:
                return
    raise AssertionError(f"{expected!r} did not come: {text!r}")


def test_a_person_who_types_at_bash_gets_the_word(scripts):
    line = "itk_resample image --interpolation ne"
    call = ["bash", "--norc", "--noprofile", "-i"]
    typed(call, scripts, "source ./itkit.bash", line, "itk_resample image --interpolation nearest ")


@pytest.mark.parametrize("shell", [name for name in ("zsh",) if shutil.which(name)])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("itk_check check --labels 1 2 --same-si", "itk_check check --labels 1 2 --same-size "),
        ("itkit convert-dataset kits23 --spaci", "itkit convert-dataset kits23 --spacing "),
        ("itkit bench m.onnx --backends torch on", "itkit bench m.onnx --backends torch onnx "),
        ("itk_resample --spacing 1 -1 2 im", "itk_resample --spacing 1 -1 2 image "),
    ],
)
def test_zsh_completes_lines(scripts, shell, line, expected):
    typed([shell, "-f", "-i"], scripts, "autoload -U compinit; compinit -D -u; source ./itkit.zsh", line, expected)


@pytest.mark.parametrize("shell", [name for name in ("fish",) if shutil.which(name)])
def test_fish_completes_lines(scripts, shell):
    left_out = [line for line in LINES if "--spacing 1" in line or line.startswith("/") or "labels" in line]
    lines = [line for line in LINES if line not in left_out and not line.startswith("itkit bench")]
    probe = "\n".join(["source ./itkit.fish", *(f"complete -C '{line}' | string join '|'; echo" for line in lines)])
    done = said([shell, "-c", probe], scripts)
    found = [[item.split("\t")[0].rstrip("/") for item in row.split("|")] for row in done.stdout.split("\n\n")]
    assert [set(row) for row in found[: len(lines)]] == [set(LINES[line]) for line in lines]


def test_every_shell_gets_every_command_option_dataset_and_network(scripts, known):
    assert {"itkit", "itkit-app", "itkit-web", "mmrun", "itk_wsi"} <= set(known.programs)
    texts = {shell: (scripts / f"itkit.{shell}").read_text() for shell in _SCRIPTS}
    long = [flag for command in known.commands for option in command.options for flag in option.flags if "--" in flag]
    names = [*known.programs, *(name for name, _ in (*known.verbs, *known.datasets)), *list_models(plugins=False)]
    for shell, text in texts.items():
        missing = [name for name in names if name not in text]
        missing += [flag for flag in long if (f"-l {flag[2:]} " if shell == "fish" else flag) not in text]
        assert missing == [], shell


def test_texts_that_a_shell_would_take_for_its_own_are_quoted():
    from itkit.cli.shells import fish, zsh

    assert zsh._quoted(zsh._told("the image's [mm]: \\")) == r"'the image'\''s \[mm\]\: \\'"
    assert fish._quoted("the image's \\ $HOME") == r"'the image\'s \\ $HOME'"
    assert zsh._action(Values(path="folder")) == "_files -/"


def test_the_command_prints_the_script(capsys, monkeypatch):
    monkeypatch.setattr(completion, "grammar", lambda: Grammar((), (), (), ()))
    assert run(CompletionParams(shell="fish")) == 0
    assert capsys.readouterr().out.startswith("# completion of itkit for fish")


def test_words_of_plug_ins_that_a_shell_would_take_apart_are_left_out():
    class Odd(Params):
        """Odd."""

        kind: Annotated[Literal["it's", "two words", "$(date)", "grün", "plain"], Positional()]
        """The kind."""

    assert values_of("kind", Odd.model_fields["kind"], {}).words == ("grün", "plain")
