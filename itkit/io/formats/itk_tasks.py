"""What a child process does with SimpleITK; no other process imports this module. See `itkit.io.child`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

sitk.ProcessObject.SetGlobalWarningDisplay(False)


def say_header(request: Mapping[str, Any], hand_over: Callable[[NDArray[Any]], None]) -> dict[str, Any]:
    """Say what SimpleITK finds in a header."""
    del hand_over  # there are no voxels
    reader = _reader(request)
    reader.ReadImageInformation()
    answer: dict[str, Any] = {
        "size": reader.GetSize(),
        "spacing": reader.GetSpacing(),
        "origin": reader.GetOrigin(),
        "direction": reader.GetDirection(),
        "components": reader.GetNumberOfComponents(),
        "type": sitk.GetPixelIDValueAsString(reader.GetPixelID()),
    }
    with contextlib.suppress(RuntimeError, KeyError, TypeError):  # labels of ITK's own, complex numbers
        one = sitk.Image([1] * 2, reader.GetPixelID(), reader.GetNumberOfComponents())
        answer["dtype"] = np.dtype(sitk.extra._get_numpy_dtype(one)).name
    return answer


def hand_over_voxels(request: Mapping[str, Any], hand_over: Callable[[NDArray[Any]], None]) -> dict[str, Any]:
    """Read a file and hand its voxels over."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(max(1, request["threads"]))
    image = _reader(request).Execute()
    array = sitk.GetArrayViewFromImage(image)
    if array.nbytes > request["most"]:
        return {"error": f"{array.nbytes} bytes of voxels where the header has {request['most']}"}
    hand_over(array)
    return {}


def _reader(request: Mapping[str, Any]) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetFileName(request["path"])
    if request["io"]:
        reader.SetImageIO(request["io"])
    return reader
