"""Operations from Python: the same runs as on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from itkit.core.errors import ParamsError
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params
from itkit.engine.runner import RunResult, execute

if TYPE_CHECKING:
    from itkit.core.operation import Operation
    from itkit.core.params import Params
    from itkit.engine.progress import EventSink


def run(
    operation: str | Operation[Any],
    params: Params | None = None,
    *,
    options: RunOptions | None = None,
    on_event: EventSink | None = None,
    **values: Any,
) -> RunResult:
    """Run a command from Python.

    Parameters
    ----------
    operation
        Its name, e.g. ``"itk_resample"``, or an operation of your own.
    params
        Its parameters; or give them, and run options too, as keywords.
    options
        How to run it.
    on_event
        Called with each progress event.
    **values
        Parameters and run options by name, instead of ``params`` and ``options``.

    Returns
    -------
    RunResult
        A record a case, and the summary with the exit code.

    Raises
    ------
    ParamsError, LayoutError, MissingExtraError
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
    from itkit.catalogue import CATALOGUE, load

    if isinstance(operation, str):
        if operation not in CATALOGUE:
            raise ParamsError(f"no command {operation!r}; there are {', '.join(CATALOGUE)}")
        operation = load(operation)
    run_names = RunOptions.model_fields.keys()
    useless = [name for name in values if (options if name in run_names else params) is not None]
    if useless:
        raise ParamsError(f"{useless[0]} is given beside the model that holds it; change the model instead")
    if params is not None and not isinstance(params, operation.params):
        raise ParamsError(f"{operation.name} takes {operation.params.__name__}; got {type(params).__name__}")
    if params is None:
        params = make_params(operation.params, {name: value for name, value in values.items() if name not in run_names})
    if options is None:
        options = make_params(RunOptions, {name: value for name, value in values.items() if name in run_names})
    return execute(operation, params, options, on_event=on_event)
