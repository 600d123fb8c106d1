"""Read volume files with readers that other packages register under the entry point group ``itkit.readers``.

A reader is a function from a `pathlib.Path` to a `Volume`. It can't read a header alone: to find out a file's grid, the
whole file is read.
"""

from __future__ import annotations

from pathlib import Path

from itkit.core.errors import CaseError, PluginError, ReadError
from itkit.core.files import reader_of
from itkit.core.volume import Volume
from itkit.io.formats.header_model import Header


def read_plugged(path: Path) -> Volume:
    """Read a file with the reader that another package registers for its extension.

    Raises
    ------
    ReadError
        When there is no such reader, the reader fails, or it does not return a `Volume`.
    """
    plugin = reader_of(path.name)
    if plugin is None:
        raise ReadError(f"{path}: not a volume file that ITKIT reads")
    try:
        volume = plugin.load()(path)
    except (CaseError, PluginError) as error:
        raise ReadError(str(error)) from error
    except Exception as error:
        raise ReadError(f"{path.name}: {plugin.package} can't read it ({type(error).__name__}: {error})") from error
    if not isinstance(volume, Volume):
        raise ReadError(f"{path.name}: {plugin.package} returns a {type(volume).__name__}; expected a Volume")
    return volume


def read_plugged_header(path: Path) -> Header:
    """Return the header of a file that only a reader of another package can read; the whole file is read.

    Raises
    ------
    ReadError
        When the file can't be read.
    """
    volume = read_plugged(path)
    array = volume.array_zyx
    return Header(
        geometry=volume.geometry,
        ndim=3,
        dtype=array.dtype.name,
        components=array.shape[3] if array.ndim == 4 else 1,
        size_bytes=array.nbytes,
        data_path=path,
        data_offset=0,
        encoding="plug-in",
        file_format="read by a plug-in",
    )
