"""Shell completion, made from the parameter models."""

from __future__ import annotations

from collections.abc import Sequence

from itkit.catalogue import CATALOGUE, load
from itkit.cli.adapter import build_parser


def options_of(name: str) -> list[str]:
    """Return all options of a command."""
    flags = [flag for action in build_parser(load(name))._actions for flag in action.option_strings]
    return [*flags, "--help", "--version"]


def script(shell: str, verbs: Sequence[str]) -> str:
    """Return a completion script for ``bash``, ``zsh`` or ``fish``."""
    options = {name: options_of(name) for name in CATALOGUE}
    if shell == "fish":
        lines = [f"complete -c itkit -n __fish_use_subcommand -a '{' '.join(verbs)}'"]
        for name, flags in options.items():
            for flag in flags:
                kind = f"-l {flag[2:]}" if flag.startswith("--") else f"-o {flag[1:]}"
                lines.append(f"complete -c {name} {kind}")
                lines.append(f"complete -c itkit -n '__fish_seen_subcommand_from {name.removeprefix('itk_')}' {kind}")
        return "\n".join(lines) + "\n"
    cases = "\n".join(
        f"    {name}|{name.removeprefix('itk_')}) words='{' '.join(flags)}' ;;" for name, flags in options.items()
    )
    head = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return f"""{head}_itkit_complete() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" command="${{COMP_WORDS[0]##*/}}" words=""
  if [ "$command" = itkit ]; then
    if [ "$COMP_CWORD" -eq 1 ]; then
      COMPREPLY=($(compgen -W '{" ".join(verbs)}' -- "$current"))
      return
    fi
    command="${{COMP_WORDS[1]}}"
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
complete -o filenames -F _itkit_complete itkit {" ".join(CATALOGUE)}
"""
