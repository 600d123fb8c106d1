"""The completion of fish, with descriptions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from itkit.cli.shells.grammar import CONVERTER, Command, Grammar, Option, Values

_FUNCTIONS = f"""
function __itkit_words # the words before the one that is completed, from the command on
  set -l words (commandline -opc)
  if test (count $words) -ge 1; and string match -q '*itkit' -- $words[1]
    set -e words[1]
    if test (count $words) -ge 2; and test $words[1] = convert-dataset
      set words {CONVERTER}$words[2] $words[3..-1]
    end
  end
  string join \\n -- $words
end
function __itkit_runs # COMMAND...: whether the line runs one of them
  set -l words (__itkit_words)
  test (count $words) -ge 1; and contains -- $words[1] $argv
end
function __itkit_place # N COMMAND...: whether their N-th argument is completed; values of options count, too
  set -l words (__itkit_words)
  test (count $words) -ge 1; and contains -- $words[1] $argv[2..-1]
  and test (count (string match -v -- '-*' $words)) -eq $argv[1]
end
function __itkit_no_command # whether a verb is to be named
  test (count (commandline -opc)) -eq 1
end
function __itkit_no_dataset # whether a dataset is to be named
  set -l words (commandline -opc)
  test (count $words) -eq 2; and test $words[2] = convert-dataset
end
"""


def script(grammar: Grammar) -> str:
    """Return the script."""
    lines = ["# completion of itkit for fish; made by: itkit completion fish", *_FUNCTIONS.strip("\n").split("\n")]
    for condition, rows in (("__itkit_no_command", grammar.verbs), ("__itkit_no_dataset", grammar.datasets)):
        lines += [f"complete -c itkit -f -n {condition} -a {word} -d {_quoted(text)}" for word, text in rows]
    for command in grammar.commands:
        lines += _command(command)
    operations = [command for command in grammar.commands if command.is_operation]
    names = " ".join(word for command in operations for word in command.words)
    programs = ["itkit", *(command.program for command in operations if command.program)]
    for option in (*grammar.common, Option(("--version",), "show the version", Values(0))):
        lines.append(_option(programs, names, option))
    return "\n".join([*lines, ""])


def _command(command: Command) -> Iterator[str]:
    programs = [*(["itkit"] if command.words else []), *([command.program] if command.program else [])]
    names = " ".join(command.spellings)
    for option in (*command.options, Option(("--help",), "show the help", Values(0))):
        yield _option(programs, names, option)
    for place, values in enumerate(command.arguments, 1):
        where = f"__itkit_runs {names}" if values.count > 1 else f"__itkit_place {place} {names}"
        taken = _taken(values)
        if taken:
            yield f"complete{_of(programs)} -n {_quoted(where)}{taken.replace(' -r', '')}"


def _option(programs: Sequence[str], names: str, option: Option) -> str:
    spelled = "".join(f" -l {flag[2:]}" if flag.startswith("--") else _short(flag) for flag in option.flags)
    taken = _taken(option.values) or (" -x" if option.values.count else "")
    return f"complete{_of(programs)} -n {_quoted(f'__itkit_runs {names}')}{spelled}{taken} -d {_quoted(option.text)}"


def _short(flag: str) -> str:
    return f" -s {flag[1:]}" if len(flag) == 2 else f" -o {flag[1:]}"


def _of(programs: Sequence[str]) -> str:
    return "".join(f" -c {program}" for program in programs)


def _taken(values: Values) -> str:
    if values.words:
        return f" -x -a {_quoted(' '.join(values.words))}"
    return {"file": " -r -F", "folder": " -x -a '(__fish_complete_directories)'", "": ""}[values.path]


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
