"""Scripts for shell completion, made from the parameter models."""

from __future__ import annotations

from collections.abc import Sequence

from itkit.catalogue import ALIASES, CATALOGUE, describe_registered, load, registered
from itkit.cli.adapter import build_parser
from itkit.cli.verbs import VERBS
from itkit.core.errors import ParamsError

_CONVERTER = "convert_"


def main(arguments: Sequence[str]) -> int:
    """Print the script for a shell."""
    if len(arguments) != 1 or arguments[0] not in ("bash", "zsh", "fish"):
        raise ParamsError("give one shell: bash, zsh or fish")
    operations = [name.removeprefix("itk_") for name in (*CATALOGUE, *registered())]
    print(script(arguments[0], [*operations, *VERBS]), end="")
    return 0


def options_of(name: str) -> list[str]:
    """Return all options of an operation."""
    flags = [flag for action in build_parser(load(name))._actions for flag in action.option_strings]
    return [*flags, "--help", "--version"]


def words_for(name: str) -> list[str]:
    """Return every word that names an operation: its name, its verb and its aliases.

    Examples
    --------
    >>> words_for("itk_check"), words_for("convert_brats2024")[1:]
    (['itk_check', 'check'], ['convert_brats2024_menrt', 'convert_brats2024_ped'])
    """
    aliases = [alias for alias, (target, _) in ALIASES.items() if target == name]
    return list(dict.fromkeys([name, name.removeprefix("itk_"), *aliases]))


def script(shell: str, verbs: Sequence[str]) -> str:
    """Return a completion script for ``bash``, ``zsh`` or ``fish``; plug-ins that can't be used are left out."""
    options = {name: options_of(name) for name in (*CATALOGUE, *describe_registered()[0])}
    words = {name: words_for(name) for name in options}
    datasets = [word.removeprefix(_CONVERTER) for found in words.values() for word in found if _is_converter(word)]
    programs = [name for name in options if name.startswith("itk_")]
    if shell == "fish":
        return _fish(options, words, verbs, datasets)
    cases = "\n".join(f"    {'|'.join(words[name])}) words='{' '.join(flags)}' ;;" for name, flags in options.items())
    head = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return f"""{head}_itkit_complete() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" command="${{COMP_WORDS[0]##*/}}" words=""
  if [ "$command" = itkit ]; then
    if [ "$COMP_CWORD" -eq 1 ]; then
      COMPREPLY=($(compgen -W '{" ".join(verbs)}' -- "$current"))
      return
    fi
    command="${{COMP_WORDS[1]}}"
    if [ "$command" = convert-dataset ]; then
      if [ "$COMP_CWORD" -eq 2 ]; then
        COMPREPLY=($(compgen -W '{" ".join(datasets)} --list --help' -- "$current"))
        return
      fi
      command="{_CONVERTER}${{COMP_WORDS[2]}}"
    fi
  fi
  case "$command" in
{cases}
  esac
  if [ "${{current#-}}" != "$current" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}}
complete -o filenames -F _itkit_complete itkit {" ".join(programs)}
"""


def _is_converter(word: str) -> bool:
    return word.startswith(_CONVERTER)


def _fish(
    options: dict[str, list[str]], words: dict[str, list[str]], verbs: Sequence[str], datasets: Sequence[str]
) -> str:
    lines = [
        f"complete -c itkit -n __fish_use_subcommand -a '{' '.join(verbs)}'",
        f"complete -c itkit -n '__fish_seen_subcommand_from convert-dataset' -a '{' '.join(datasets)}'",
    ]
    for name, flags in options.items():
        seen = [word.removeprefix(_CONVERTER) for word in words[name] if _is_converter(word)]
        for flag in flags:
            kind = f"-l {flag[2:]}" if flag.startswith("--") else f"-o {flag[1:]}"
            if name.startswith("itk_"):
                lines.append(f"complete -c {name} {kind}")
            given = " ".join([*words[name], *seen])
            lines.append(f"complete -c itkit -n '__fish_seen_subcommand_from {given}' {kind}")
    return "\n".join(lines) + "\n"
