"""The completion of bash, from version 3.2 on."""

from __future__ import annotations

from collections.abc import Iterator

from itkit.cli.shells.grammar import CONVERTER, Command, Grammar, Option, Values

_WALK = r"""
_itkit_complete() {
  local current="${COMP_WORDS[COMP_CWORD]}" name="${COMP_WORDS[0]##*/}" begin=1 place=1 left=0 row="" word i
  COMPREPLY=()
  if [ "$name" = itkit ]; then
    if [ "$COMP_CWORD" -eq 1 ]; then
      _itkit_reply -W "$_itkit_verbs --help --version"
      return
    fi
    name="${COMP_WORDS[1]}" begin=2
    if [ "$name" = convert-dataset ]; then
      if [ "$COMP_CWORD" -eq 2 ]; then
        _itkit_reply -W "$_itkit_datasets --list --help"
        return
      fi
      name="CONVERTER${COMP_WORDS[2]}" begin=3
    fi
  fi
  name="$(_itkit_name "$name")"
  for ((i = begin; i < COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    case "$word" in
      =) ;; # bash makes three words of --option=value
      -[0-9.]*) ((left > 0)) && left=$((left - 1)) ;;
      -*) row="$(_itkit_values "$name" "$word")" left="${row%% *}" left="${left:-0}" ;;
      *) if ((left > 0)); then left=$((left - 1)); else place=$((place + 1)); fi ;;
    esac
  done
  [ "$current" = "=" ] && current=""
  case "$current" in
    -*)
      _itkit_reply -W "$(_itkit_options "$name") --help"
      return
      ;;
  esac
  if ((left > 50)) && [ "${row#* }" = "$row" ]; then left=0; fi # any number of values, and no words for them
  if ((left == 0)); then
    row="$(_itkit_values "$name" "$place")"
    [ -n "$row" ] || row="$(_itkit_values "$name" "*")"
  fi
  case "$row" in
    "" | [0-9]) ;;
    *"<file>") _itkit_paths -f ;;
    *"<folder>") _itkit_paths -d ;;
    *) _itkit_reply -W "${row#* }" ;;
  esac
}
_itkit_reply() { # KIND [WORDS]: what bash's compgen makes of them, a line each, as names may hold blanks
  local line
  while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen "$@" -- "$current")
}
_itkit_paths() {
  compopt -o filenames 2>/dev/null
  _itkit_reply "$1"
}
"""


def script(grammar: Grammar) -> str:
    """Return the script."""
    names = [f"    {'|'.join(command.spellings)}) echo {command.name} ;;" for command in grammar.commands]
    options = [f"    {command.name}) echo '{_options(grammar, command)}' ;;" for command in grammar.commands]
    rows = [row for command in grammar.commands for row in _own_rows(command)]
    rows += [row for option in grammar.common for row in _option_rows("*", option)]
    return "\n".join(
        [
            "# completion of itkit for bash; made by: itkit completion bash",
            f"_itkit_verbs='{' '.join(name for name, _ in grammar.verbs)}'",
            f"_itkit_datasets='{' '.join(name for name, _ in grammar.datasets)}'",
            "_itkit_name() { # WORD: the command that it names",
            '  case "$1" in',
            *names,
            '    *) echo "$1" ;;',
            "  esac",
            "}",
            "_itkit_options() { # COMMAND: its options",
            '  case "$1" in',
            *options,
            "  esac",
            "}",
            "_itkit_values() { # COMMAND OPTION-OR-PLACE: how many values it takes, and which",
            '  case "$1 $2" in',
            *rows,
            "  esac",
            "}",
            _WALK.strip("\n").replace("CONVERTER", CONVERTER),
            f"complete -F _itkit_complete {' '.join(grammar.programs)}",
            "",
        ]
    )


def _options(grammar: Grammar, command: Command) -> str:
    common = grammar.common if command.is_operation else ()
    flags = [flag for option in (*command.options, *common) for flag in option.flags]
    return " ".join([*flags, *(["--version"] if command.is_operation else [])])


def _own_rows(command: Command) -> Iterator[str]:
    for option in command.options:
        yield from _option_rows(command.name, option)
    for place, values in enumerate(command.arguments, 1):
        key = "*" if values.count > 1 else str(place)
        yield f"    '{command.name} {key}') echo '1{_told(values)}' ;;"


def _option_rows(name: str, option: Option) -> Iterator[str]:
    if option.values.count:
        before = "*' " if name == "*" else f"'{name} "
        keys = "|".join(f"{before}{flag}'" for flag in option.flags)
        yield f"    {keys}) echo '{option.values.count}{_told(option.values)}' ;;"


def _told(values: Values) -> str:
    if values.path:
        return f" <{values.path}>"
    return f" {' '.join(values.words)}" if values.words else ""
