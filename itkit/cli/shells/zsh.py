"""The completion of zsh: its own ``_arguments``, with descriptions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from itkit.cli.shells.grammar import CONVERTER, MANY, Command, Grammar, Option, Values

_MAIN = r"""
_itkit_more() { # FUNCTION ACTION...: one more of any number of values; or an option, which the function completes
  local again=$1
  shift
  if [[ $PREFIX == -* ]]; then
    words=("$words[1]" "$words[CURRENT]")
    CURRENT=2
    $again
  elif [[ $1 == _files ]]; then
    "$@"
  else
    compadd -- "$@"
  fi
}
_itkit() {
  local command=${words[1]:t}
  if [[ $command == itkit ]]; then
    if (( CURRENT == 2 )); then
      _itkit_verbs
      return
    fi
    command=$words[2]
    shift words
    (( CURRENT-- ))
    if [[ $command == convert-dataset ]]; then
      if (( CURRENT == 2 )); then
        _itkit_datasets
        return
      fi
      command=CONVERTER$words[2]
      shift words
      (( CURRENT-- ))
    fi
  fi
  case $command in
"""


def script(grammar: Grammar) -> str:
    """Return the script; it may be a file ``_itkit`` in a folder of ``fpath``, or be sourced."""
    programs = " ".join(grammar.programs)
    lines = [f"#compdef {programs}", "# completion of itkit for zsh; made by: itkit completion zsh"]
    lines += _described("_itkit_verbs", "command", grammar.verbs)
    lines += _described("_itkit_datasets", "dataset", grammar.datasets)
    common = [spec for option in grammar.common for spec in _specs(option, "")]
    lines += ["_itkit_common=(", *(f"  {spec}" for spec in (*common, _quoted("--version[show the version]"))), ")"]
    for command in grammar.commands:
        lines += _function(command)
    lines += _MAIN.strip("\n").replace("CONVERTER", CONVERTER).split("\n")
    for command in grammar.commands:
        lines.append(f"    ({'|'.join(command.spellings)}) {_name(command)} ;;")
    lines += ["    (*) _files ;;", "  esac", "}"]
    lines += ['if [[ $funcstack[1] == _itkit ]]; then _itkit "$@"; else compdef _itkit ' + programs + "; fi", ""]
    return "\n".join(lines)


def _name(command: Command) -> str:
    return "_itkit_" + re.sub(r"\W", "_", command.name)


def _described(name: str, what: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    items = [f"    {_quoted(word + ':' + text)}" for word, text in rows]
    return [f"{name}() {{", "  local -a found=(", *items, "  )", f"  _describe {what} found", "}"]


def _function(command: Command) -> Iterator[str]:
    yield f"{_name(command)}() {{"
    yield "  _arguments \\"
    for option in command.options:
        yield from (f"    {spec} \\" for spec in _specs(option, _name(command)))
    for place, values in enumerate(command.arguments, 1):
        where = "*" if values.count > 1 else str(place)
        yield f"    {_quoted(f'{where}:{_told(values.names[0].lower())}:{_action(values)}')} \\"
    common = " $_itkit_common" if command.is_operation else ""
    yield f"    '(- *)'--help'[show the help]'{common}"
    yield "}"


def _specs(option: Option, function: str) -> Iterator[str]:
    values = option.values
    if values.count == MANY:
        action = " ".join(values.words) if values.words else _action(values).strip()
        taken = f":*-*:{_told(values.names[0].lower())}: _itkit_more {function} {action}"
    else:
        names = [*values.names, *values.names[-1:] * values.count][: values.count]
        taken = "".join(f":{_told(name.lower())}:{_action(values)}" for name in names)
    before = "*" if option.is_repeated else f"({' '.join(option.flags)})" if len(option.flags) > 1 else ""
    for flag in option.flags:
        yield _quoted(f"{before}{flag}[{_told(option.text)}]{taken}")


def _action(values: Values) -> str:
    if values.words:
        return f"({' '.join(values.words)})"
    return {"file": "_files", "folder": "_files -/", "": " "}[values.path]


def _told(text: str) -> str:
    """Return a text as the specifications of ``_arguments`` take it."""
    return re.sub(r"([\\\[\]:])", r"\\\1", text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
