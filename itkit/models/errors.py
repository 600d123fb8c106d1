"""What can go wrong with networks and their weights."""

from itkit.core.errors import ItkitError, ParamsError


class ModelError(ParamsError, ValueError):
    """A network's name, size or option is wrong; also a ``ValueError`` for callers without this package's tree."""


class WeightsError(ItkitError, ValueError):
    """A weight file is unsafe, damaged, incomplete or does not belong to the network."""
