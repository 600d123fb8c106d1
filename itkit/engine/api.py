"""Operations from Python: the same runs as on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from itkit.catalogue import ALIASES, CATALOGUE, describe_registered, load
from itkit.core.errors import ParamsError
from itkit.core.operation import Operation
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params, read_config
from itkit.engine.runner import RunResult, execute

if TYPE_CHECKING:
    from collections.abc import Mapping

    from itkit.core.params import Params
    from itkit.engine.progress import EventSink


def operations() -> dict[str, str]:
    """Return the name of every operation, also those of other packages, with a short summary of what it does.

    Examples
    --------
    >>> operations()["itk_orient"]
    'turn axes to given directions, exactly'
    """
    entries = {**CATALOGUE, **describe_registered()[0]}
    return {name: entry.summary for name, entry in entries.items()}


def run(
    operation: str | Operation[Any],
    params: Params | None = None,
    *,
    options: RunOptions | None = None,
    on_event: EventSink | None = None,
    **values: Any,
) -> RunResult:
    """Run an operation: a command, a converter, or an operation of another package or of your own.

    Every operation of ITKIT also exists as a function whose signature and help name its parameters: ``orient_dataset``
    for ``itk_orient``, ``convert_kits23``, and so on.

    Parameters
    ----------
    operation
        The name, e.g. ``"itk_resample"`` or ``"convert_kits23"`` (`itkit.operations` lists all), or the operation
        itself.
    params
        The parameters, as an instance of the operation's model; or give them as keywords.
    options
        The run options, as a model; or give these as keywords too: ``mp``, ``workers``, ``dry_run``, ``existing``,
        ``fingerprint``, ``prune``, ``on_error``, ``strict``, ``seed``, ``progress``, ``compression``, ``max_memory``,
        ``executor``, ``dask``, ``shard``, ``config``. ``itk_check --help`` explains them.
    on_event
        Called with each progress event.
    **values
        Parameters and run options by name, instead of ``params`` and ``options``.

    Returns
    -------
    RunResult
        A record for each case, and the summary with the exit code.

    Raises
    ------
    ParamsError
        When there is no such operation, or a parameter is missing, unknown or wrong.
    LayoutError, MissingExtraError, PluginError
        When nothing can run.

    Notes
    -----
    With several workers, a script must guard its main part by ``if __name__ == "__main__":``.

    Examples
    --------
    >>> import itkit
    >>> result = itkit.run("itk_orient", source="raw", dest="lpi", orient="LPI", workers=2)  # doctest: +SKIP
    >>> result.exit_code  # doctest: +SKIP
    0
    """
    implied: Mapping[str, Any] = {}
    if isinstance(operation, str):
        implied = ALIASES[operation][1] if operation in ALIASES and params is None else {}
        operation = load(operation)
    elif not isinstance(operation, Operation):
        raise ParamsError(f"expected the name of an operation, or an operation; got {operation!r}")
    if values.get("config") is not None:
        values = {**read_config(Path(values["config"]), operation), **values}
    run_names = RunOptions.model_fields.keys()
    useless = [name for name in values if (options if name in run_names else params) is not None]
    if useless:
        raise ParamsError(f"{useless[0]} is given beside the model that holds it; change the model instead")
    if params is None:
        own = {name: value for name, value in values.items() if name not in run_names}
        params = make_params(operation.params, {**implied, **own})
    elif not isinstance(params, operation.params):
        raise ParamsError(f"{operation.name} takes {operation.params.__name__}; got {type(params).__name__}")
    if options is None:
        options = make_params(RunOptions, {name: value for name, value in values.items() if name in run_names})
    elif not isinstance(options, RunOptions):
        raise ParamsError(f"options: expected RunOptions; got {type(options).__name__}")
    return execute(operation, params, options, on_event=on_event)
