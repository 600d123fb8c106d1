"""The tree of configurations: ``<config root>/<version>.<Name>/{mgam.py, <model>.py}``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from itkit.core.errors import LayoutError, ParamsError
from itkit.core.text import did_you_mean, some

SHARED = "mgam"
"""Name of the module that the models of an experiment read; it is no model."""
_FOLDER = re.compile(r"(?P<version>[0-9]+(?:\.[0-9]+)*)\.(?P<name>[^.0-9][^.]*)")
_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_MOST_LISTED = 30


@dataclass(frozen=True)
class Experiment:
    """A folder of configurations.

    Parameters
    ----------
    folder
        The folder.
    version
        Its version: the numbers before its name, e.g. ``"0.3"``.
    name
        Its name, e.g. ``"Config3"``.
    """

    folder: Path
    version: str
    name: str

    @property
    def full_name(self) -> str:
        """Version and name, as the folder is called."""
        return self.folder.name

    def config(self, model: str) -> Path:
        """Return the configuration of a model."""
        return self.folder / f"{model}.py"

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, sorted: every ``.py`` file but ``mgam.py`` and those whose names start with ``_``.

        Raises
        ------
        LayoutError
            When the folder can't be read.
        """
        try:
            found = [path.stem for path in self.folder.iterdir() if path.suffix == ".py" and path.is_file()]
        except OSError as error:
            raise LayoutError(f"{self.folder}: can't be read ({error.strerror or error})") from error
        return tuple(sorted(name for name in found if name != SHARED and not name.startswith(("_", "."))))


def parsed(folder: Path) -> Experiment | None:
    """Return the experiment that a folder's name means; ``None`` for other names.

    The version is every element of digits before the last element, the name; a name does not start with a digit.

    Examples
    --------
    >>> parsed(Path("0.3.1.Config3")).version, parsed(Path("0.3.Config3")).name
    ('0.3.1', 'Config3')
    >>> [parsed(Path(name)) for name in ("0.1_old", "0.1", "notes", "0.a.Config")]
    [None, None, None, None]
    """
    found = _FOLDER.fullmatch(folder.name)
    return None if found is None else Experiment(folder, found["version"], found["name"])


def experiments(root: Path) -> tuple[Experiment, ...]:
    """Return the experiments of a tree, by version and name; other folders and files are ignored.

    Raises
    ------
    LayoutError
        When the root is no folder.
    """
    if not root.is_dir():
        raise LayoutError(f"{root}: the config root is not a folder; set mm_configdir or give --config-root")
    try:
        folders = [path for path in root.iterdir() if path.is_dir()]
    except OSError as error:
        raise LayoutError(f"{root}: can't be read ({error.strerror or error})") from error
    found = [experiment for experiment in map(parsed, folders) if experiment is not None]
    return tuple(sorted(found, key=_order))


def _order(experiment: Experiment) -> tuple[tuple[int, ...], str, str]:
    return tuple(map(int, experiment.version.split("."))), experiment.name, experiment.version


def find_experiment(root: Path, wanted: str) -> Experiment:
    """Find the experiment that a user means.

    Parameters
    ----------
    root
        Root of the tree.
    wanted
        A full name (``0.3.Config3``), a version (``0.3``), or a beginning of a name, with its version (``0.3.Con``) or
        without (``Con``). A version never means a longer one: ``0.3`` does not find ``0.3.1.Config3``.

    Raises
    ------
    ParamsError
        When there is none, or several fit; the message lists them.
    LayoutError
        When the root is no folder.
    """
    known = experiments(root)
    exact = [experiment for experiment in known if wanted in (experiment.full_name, experiment.name)]
    fitting = exact or [experiment for experiment in known if _fits(experiment, wanted)]
    if len(fitting) == 1:
        return fitting[0]
    names = [experiment.full_name for experiment in fitting or known]
    listed = some(names, most=_MOST_LISTED)
    if fitting:
        raise ParamsError(f"experiment {wanted!r} is ambiguous in {root}: {listed}; give the full name")
    there = f"there are {listed}" if names else "it holds no folder <version>.<Name>"
    raise ParamsError(f"no experiment {wanted!r} in {root}{did_you_mean(wanted, names)}; {there}")


def _fits(experiment: Experiment, wanted: str) -> bool:
    if _VERSION.fullmatch(wanted):
        return experiment.version == wanted
    version, dot, name = wanted.rpartition(".")
    return bool(version or name) and (not dot or experiment.version == version) and experiment.name.startswith(name)


def choose_models(experiment: Experiment, given: Sequence[str], supported: Sequence[str]) -> tuple[list[str], str]:
    """Return the models of an experiment that are to run, and a note about those that are left out.

    Parameters
    ----------
    experiment
        The experiment.
    given
        Names that the user gave; each must be there.
    supported
        Names that the environment supports, in their order; those that are there count.

    Raises
    ------
    ParamsError
        When a model is not there, or none is left.
    """
    there = experiment.models
    listed = some(there, most=_MOST_LISTED) if there else "none"
    if given:
        for name in given:
            if name not in there:
                hint = did_you_mean(name, there)
                raise ParamsError(f"{experiment.folder}: no model {name!r}{hint}; there are: {listed}")
        return list(dict.fromkeys(given)), ""
    chosen = [name for name in dict.fromkeys(supported) if name in there] if supported else list(there)
    if not chosen:
        why = f" that supported_models names ({some(supported)})" if supported else ""
        raise ParamsError(f"{experiment.folder}: no model{why}; there are: {listed}")
    absent = [name for name in dict.fromkeys(supported) if name not in there]
    note = f"{experiment.full_name}: supported_models names {some(absent)}, which it does not have" if absent else ""
    return chosen, note
