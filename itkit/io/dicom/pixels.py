"""Decode the stored pixels of DICOM frames: clear unused bits and extend the sign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import ReadError, UndecodableError
from itkit.io.dicom.header import (
    Frame,
    PixelFormat,
    is_compressed,
    number,
    parse_errors,
    pydicom_module,
    read_dataset,
    short,
    warnings_as_notes,
)

#: Package that decodes a transfer syntax, by the beginning of its UID; the longest matching entry counts.
_DECODERS = {
    "1.2.840.10008.1.2.4.5": "pylibjpeg-libjpeg",  # JPEG
    "1.2.840.10008.1.2.4.7": "pylibjpeg-libjpeg",  # JPEG lossless
    "1.2.840.10008.1.2.4.8": "pylibjpeg-libjpeg",  # JPEG-LS
    "1.2.840.10008.1.2.4.9": "pylibjpeg-openjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.4.20": "pylibjpeg-openjpeg",  # HTJ2K
    "1.2.840.10008.1.2.5": "pydicom",  # RLE
}
_TASK = "itkit.io.dicom.pixel_tasks:hand_over_frames"
_HANDED_OVER = 64 << 20
"""Bytes of pixels that a child is asked for at once."""
_PIXEL_BYTES = 32
"""Bytes that decoders take for a pixel, at most."""
DECODERS_BYTES = 96 << 20
"""Memory of a child process that decodes slice after slice."""
_LARGEST_PIXEL = 8
"""Bytes of a pixel that GDCM has rescaled."""


def stored_frames(path: Path, frames: Sequence[Frame], notes: list[str]) -> Iterator[NDArray[Any]]:
    """Decode frames of one file.

    Parameters
    ----------
    path
        The file.
    frames
        The frames to decode, in the order of the result.
    notes
        The warnings of the parser and the decoders are appended to this list.

    Yields
    ------
    NDArray
        Stored values ``(Y, X)``, before any rescale.

    Raises
    ------
    UndecodableError
        When the pixels are truncated, damaged or in colour, or no installed decoder reads them; the message then names
        the package to install.
    """
    for frame in frames:
        if frame.pixel.samples != 1 or not frame.pixel.photometric.startswith("MONOCHROME"):
            raise UndecodableError(f"{path}: {frame.pixel.photometric} image; only grey values make a volume")
    dataset = read_dataset(path, pixels=not frames[0].is_compressed, notes=notes)
    if "ModalityLUTSequence" in dataset:
        raise UndecodableError(f"{path}: its values go through a modality table, which has no linear rescale")
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_transfer_syntax:
        raise UndecodableError(f"{path}: unknown transfer syntax {syntax}")
    is_raw = not is_compressed(dataset)
    if is_raw:
        with warnings_as_notes(notes):
            _check_length(dataset, path, frames[0])
    for frame, array in zip(frames, decoded(dataset, path, [frame.index for frame in frames], notes), strict=True):
        if array.shape != frame.size_yx:
            raise UndecodableError(f"{path}: decoded to {array.shape} pixels YX, the header says {frame.size_yx}")
        yield clear_unused_bits(array, frame.pixel) if is_raw else array


def decoded(dataset: Any, path: Path, indices: Sequence[int], notes: list[str]) -> Iterator[NDArray[Any]]:
    """Decode frames; compressed ones in a child process, where decoders are C and C++ that see damaged streams.

    There, pydicom's plug-ins decode or, if these fail on a one-frame file, SimpleITK (GDCM).

    Parameters
    ----------
    dataset
        The file's elements; of compressed pixels, those of the header are enough.
    path
        The file.
    indices
        The frames.
    notes
        Warnings are appended to this list.

    Raises
    ------
    UndecodableError
        When all fail.
    """
    if is_compressed(dataset):
        yield from _decoded_in_a_child(dataset, path, indices, notes)
        return
    pydicom = pydicom_module()
    try:
        with warnings_as_notes(notes):
            if dataset.BitsAllocated == 1:
                yield from _unpacked(dataset, path, indices)
                return
            # HighBit matters, see `clear_unused_bits`
            yield from pydicom.pixels.iter_pixels(dataset, indices=list(indices), raw=True, correct_unused_bits=False)
    except parse_errors() as error:
        raise UndecodableError(f"{path}: the pixels can't be read: {short(error)}") from error


def _decoded_in_a_child(dataset: Any, path: Path, indices: Sequence[int], notes: list[str]) -> Iterator[NDArray[Any]]:
    from itkit.io.child import ROOM_BYTES, ask  # and all that makes a child process

    syntax = dataset.file_meta.TransferSyntaxUID
    pixels = int(number(dataset, "Rows") or 0) * int(number(dataset, "Columns") or 0)
    samples, bits = (int(number(dataset, name) or 1) for name in ("SamplesPerPixel", "BitsAllocated"))
    frame_bytes = max(1, pixels * samples * -(-bits // 8))
    room = ROOM_BYTES + 2 * path.stat().st_size + _PIXEL_BYTES * pixels * samples
    step = max(1, _HANDED_OVER // frame_bytes)
    for start in range(0, len(indices), step):
        part = [*indices[start : start + step]]
        most = len(part) * frame_bytes
        try:
            answer, arrays = ask(path, _TASK, {"indices": part, "most": most}, most=most, room=room)
            notes += [note for note in answer["notes"] if note not in notes]
            if "failed" in answer:
                raise UndecodableError(f"{path}: {_reason(syntax, answer)}")
        except ReadError as error:
            found = _decode_with_gdcm(path, dataset) if (number(dataset, "NumberOfFrames") or 1) == 1 else None
            if found is not None:
                yield found
                return
            if isinstance(error, UndecodableError):
                raise
            raise UndecodableError(str(error)) from error
        yield from arrays


def clear_unused_bits(array: NDArray[Any], pixel: PixelFormat) -> NDArray[Any]:
    """Keep the stored bits and extend their sign; the other bits hold overlays in older files (PS3.5 section 8.1.1)."""
    if array.dtype.kind not in "iu" or pixel.bits_stored >= pixel.bits_allocated:
        return array
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    shift = pixel.high_bit + 1 - pixel.bits_stored
    unsigned = np.dtype(f"u{array.dtype.itemsize}").type
    values: NDArray[Any] = (array.view(unsigned) >> unsigned(shift)) & unsigned((1 << pixel.bits_stored) - 1)
    if not pixel.is_signed:
        return values
    sign = unsigned(1 << (pixel.bits_stored - 1))
    extended: NDArray[Any] = ((values ^ sign) - sign).view(f"i{array.dtype.itemsize}")
    return extended


def _unpacked(dataset: Any, path: Path, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Unpack one-bit frames.

    Frames follow one another without padding to whole bytes (PS3.5 section 8.1.1). Some writers pad each frame; data of
    exactly that length is read so.
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    data = np.frombuffer(dataset.PixelData, np.uint8)
    is_swapped = dataset["PixelData"].VR == "OW" and not dataset.file_meta.TransferSyntaxUID.is_little_endian
    if is_swapped:
        data = data[: len(data) // 2 * 2].view(np.uint16).byteswap().view(np.uint8)
    pixels = rows * columns
    frames = int(number(dataset, "NumberOfFrames") or 1)
    packed, padded = -(-frames * pixels // 8), frames * -(-pixels // 8)
    is_padded = packed < padded <= len(data) <= padded + 1 and len(data) > packed + 1
    pitch = 8 * -(-pixels // 8) if is_padded else pixels
    for index in indices:
        start, stop = index * pitch, index * pitch + pixels
        if stop > 8 * len(data):
            raise UndecodableError(f"{path}: truncated: {len(data)} bytes of pixels end within frame {index + 1}")
        bits = np.unpackbits(data[start // 8 : -(-stop // 8)], bitorder="little")
        yield bits[start % 8 :][:pixels].reshape(rows, columns)


def _check_length(dataset: Any, path: Path, frame: Frame) -> None:
    """Raise an error if uncompressed pixel data ends too early."""
    names = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    try:
        element = next((dataset[name] for name in names if name in dataset), None)
    except parse_errors() as error:
        raise UndecodableError(f"{path}: damaged pixel data: {short(error)}") from error
    if element is None:
        raise UndecodableError(f"{path}: truncated: no pixel data")
    pixels = frame.size_yx[0] * frame.size_yx[1] * int(number(dataset, "NumberOfFrames") or 1)
    expected = pixels * frame.pixel.bits_allocated // 8
    if len(element.value) < expected:
        raise UndecodableError(f"{path}: truncated: {len(element.value)} of {expected} bytes of pixels")


def _decode_with_gdcm(path: Path, dataset: Any) -> NDArray[Any] | None:
    """Decode a one-frame file with GDCM and undo the rescale that GDCM applies; ``None`` if that fails."""
    from itkit.io.formats.itk_child import read_array  # and all that makes a child process

    rows, columns = int(number(dataset, "Rows") or 0), int(number(dataset, "Columns") or 0)
    try:
        array = read_array(path, _LARGEST_PIXEL * rows * columns, "GDCMImageIO")
    except ReadError:
        return None
    if array.ndim != 3 or len(array) != 1:
        return None
    slope, intercept = number(dataset, "RescaleSlope") or 1.0, number(dataset, "RescaleIntercept") or 0.0
    sign = "i" if dataset.get("PixelRepresentation") else "u"
    stored: NDArray[Any] = np.rint((array[0] - intercept) / slope).astype(f"{sign}{dataset.BitsAllocated // 8}")
    return stored


def _reason(syntax: Any, answer: Mapping[str, Any]) -> str:
    package = max((start for start in _DECODERS if syntax.startswith(start)), key=len, default=None)
    if package is None:
        return f"no decoder for {syntax.name}; convert the file to an uncompressed transfer syntax"
    if answer["lacks_decoder"]:
        return f"{syntax.name} needs the package {_DECODERS[package]}; install it with: pip install 'itkit[dicom]'"
    return f"{syntax.name} pixels are damaged: {answer['failed']}"
