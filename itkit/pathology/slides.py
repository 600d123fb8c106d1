"""Read regions of whole-slide images, whatever their format.

TIFF-like slides (Aperio SVS, OME-TIFF, tiled TIFF) are read by libvips, which decodes a tile once and keeps it;
OpenSlide reads all other formats, DICOM whole-slide images among them.
"""

from __future__ import annotations

import logging
import math
import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from itkit.core.arguments import expect
from itkit.core.errors import ArgumentError, ReadError
from itkit.core.extras import require
from itkit.pathology.chain import page_links

BY_VIPS = (None, "aperio", "generic-tiff")
"""OpenSlide's names of the formats that libvips reads equally; None: OpenSlide does not know the file."""
_MOST_MPP = 20.0
"""A coarser resolution is that of a screen or printer (72, 96, 300 dpi), not of a microscope."""
_MOST_UNEQUAL = 1.05
_RGB_LIKE = ("srgb", "rgb", "b-w")
"""libvips' names of the colours that are shown as they are; four values of CMYK are no RGB with transparency."""
_OME_UNITS = {"µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1000.0, "nm": 0.001, "cm": 10_000.0}
_WHITE = 255
DAMAGES = (ValueError, LookupError, OSError, AttributeError, TypeError, ArithmeticError, RecursionError, struct.error)
"""What tifffile raises for damaged files; its own error is a ``ValueError``."""


@dataclass(frozen=True)
class Level:
    """One resolution of a slide.

    Parameters
    ----------
    size_xy
        Width and height, pixels.
    downsample
        How many pixels of level 0 a pixel covers along an axis.
    """

    size_xy: tuple[int, int]
    downsample: float


class Slide(ABC):
    """A whole-slide image; close it after use, or use it in a ``with`` statement.

    Parameters
    ----------
    path
        The file.
    levels
        Its resolutions, the finest one first.
    mpp_xy
        Micrometres per pixel of level 0, X Y; ``None`` if the file does not tell.
    properties
        What the file says of itself, as texts.
    associated
        Names of its other images, such as ``label`` and ``macro``, which may show a patient's name.
    """

    def __init__(
        self,
        path: Path,
        levels: tuple[Level, ...],
        mpp_xy: tuple[float, float] | None,
        properties: Mapping[str, str],
        associated: tuple[str, ...],
    ) -> None:
        self.path = path
        self.levels = levels
        self.mpp_xy = mpp_xy
        self.properties = properties
        self.associated = associated

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def size_xy(self) -> tuple[int, int]:
        """Width and height of level 0, pixels."""
        return self.levels[0].size_xy

    @property
    def mpp(self) -> float:
        """Micrometres per pixel of level 0, the mean of X and Y.

        Raises
        ------
        ReadError
            When the file does not tell.
        """
        if self.mpp_xy is None:
            raise ReadError(
                f"{self.path.name}: the file does not say how many micrometres a pixel has; give it (mpp=0.5 in "
                "Python, --slide-mpp 0.5 for all slides, or --mpp-table FILE.csv with the columns slide,mpp)"
            )
        return sum(self.mpp_xy) / 2

    def level_mpp(self, level: int) -> float:
        """Return micrometres per pixel of a level."""
        return self.mpp * self.levels[level].downsample

    def level_for(self, mpp: float) -> int:
        """Return the coarsest level that is at least as fine as a resolution (within 1 %), or else the finest one."""
        fine = [number for number in range(len(self.levels)) if self.level_mpp(number) <= 1.01 * mpp]
        return max(fine, key=self.level_mpp, default=0)

    def read_region(
        self,
        xy_um: tuple[float, float] | None = None,
        size: tuple[int, int] = (512, 512),
        *,
        level: int = 0,
        level_px: tuple[int, int] | None = None,
        outside: int = _WHITE,
    ) -> NDArray[np.uint8]:
        """Read pixels of a level.

        Parameters
        ----------
        xy_um
            Upper left corner in micrometres, X Y; it is rounded to whole pixels of the level.
        size
            Width and height, pixels of the level.
        level
            The level; 0 is the finest.
        level_px
            Upper left corner in pixels of the level, X Y, in place of ``xy_um``.
        outside
            Value of what lies outside the slide.

        Returns
        -------
        NDArray
            ``(height, width, 3)`` RGB.

        Raises
        ------
        ReadError
            When the file is damaged there, or has no resolution but ``xy_um`` was given.
        """
        if (xy_um is None) == (level_px is None):
            raise ArgumentError("read_region: give xy_um (micrometres) or level_px (pixels of the level)")
        if not 0 <= level < len(self.levels):
            raise ArgumentError(f"read_region: there are levels 0 to {len(self.levels) - 1}; got {level}")
        if xy_um is not None:
            scale = self.level_mpp(level)
            level_px = (round(xy_um[0] / scale), round(xy_um[1] / scale))
        assert level_px is not None
        width, height = (int(value) for value in size)
        if width < 1 or height < 1:
            raise ArgumentError(f"read_region: expected a size of at least 1 x 1 pixels; got {width} x {height}")
        result = np.full((height, width, 3), outside, np.uint8)
        x, y = (int(value) for value in level_px)
        whole = self.levels[level].size_xy
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, whole[0]), min(y + height, whole[1])
        if right > left and bottom > top:
            inner = self._read(level, left, top, right - left, bottom - top)
            result[top - y : bottom - y, left - x : right - x] = inner
        return result

    @abstractmethod
    def _read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a region that lies inside a level."""

    @abstractmethod
    def read_associated(self, name: str) -> NDArray[np.uint8]:
        """Return one of the other images, ``(Y, X, 3)``."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


def open_slide(
    path: str | Path,
    mpp: float | tuple[float, float] | None = None,
    *,
    needs_mpp: bool = True,
    else_mpp: float | None = None,
) -> Slide:
    """Open a whole-slide image.

    Parameters
    ----------
    path
        A file of any format of OpenSlide, a (OME-)TIFF, or a file of a DICOM whole-slide series.
    mpp
        Micrometres per pixel of level 0, or X and Y, for a file that does not tell, or tells a wrong one.
    needs_mpp
        Whether a slide without a resolution is an error.
    else_mpp
        Micrometres per pixel of level 0, only for a file that does not tell.

    Raises
    ------
    ReadError
        When the file is no slide, is damaged, or has no resolution and none is given.
    MissingExtraError
        When the extra ``pathology`` is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ReadError(f"{path}: no such file")
    openslide = require("openslide", extra="pathology", why="reading slides")
    vendor: str | None = None
    with suppress(openslide.OpenSlideError):
        vendor = openslide.OpenSlide.detect_format(str(path))
    slide: Slide | None = None
    if vendor in BY_VIPS:
        slide = _open_tiff(path, openslide if vendor else None)
    if slide is None and vendor is not None:
        slide = _open_any(path, openslide)
    if slide is None:
        raise ReadError(f"{path.name}: not a slide that libvips, tifffile or OpenSlide can read")
    if mpp is None and slide.mpp_xy is None:
        mpp = else_mpp
    if mpp is not None:
        both = (float(mpp), float(mpp)) if isinstance(mpp, int | float) else tuple(map(float, mpp))
        if not all(math.isfinite(value) and value > 0 for value in both):
            slide.close()
            raise ArgumentError(f"open_slide: mpp: expected micrometres above 0; got {mpp!r}")
        slide.mpp_xy = (both[0], both[1])
    if needs_mpp:
        try:
            expect(slide.mpp, float, "open_slide: mpp", "a number")
        except ReadError:
            slide.close()
            raise
    return slide


def not_square(mpp_xy: tuple[float, float] | None) -> str:
    """Return what is wrong with a resolution whose axes differ by more than 5 %; empty if nothing is.

    Examples
    --------
    >>> not_square((0.5, 0.502))
    ''
    """
    if mpp_xy is None or max(mpp_xy) <= _MOST_UNEQUAL * min(mpp_xy):
        return ""
    return (
        f"its pixels are {mpp_xy[0]:g} x {mpp_xy[1]:g} µm, but tiles and masks have square ones; if that is wrong, "
        "give the right resolution by --mpp-table"
    )


def require_readers() -> None:
    """Refuse to begin without what reads slides: every one of them would fail.

    Raises
    ------
    MissingExtraError
        When the extra ``pathology`` is not installed.
    """
    require("openslide", extra="pathology", why="reading slides")


def dicom_series(path: Path) -> str:
    """Return the series of a file of a DICOM slide: the same for all its levels; empty for any other file."""
    openslide = require("openslide", extra="pathology", why="reading slides")
    with suppress(openslide.OpenSlideError), openslide.OpenSlide(str(path)) as found:
        return str(found.properties.get("dicom.SeriesInstanceUID", ""))
    return ""


class _VipsSlide(Slide):
    """A TIFF-like slide; tifffile finds its levels, libvips decodes them."""

    def __init__(
        self, path: Path, pages: list[_Page], mpp_xy: Any, properties: Any, others: Mapping[str, _Page]
    ) -> None:
        levels = tuple(Level(page.size_xy, downsample(pages[0].size_xy, page.size_xy)) for page in pages)
        super().__init__(path, levels, mpp_xy, properties, tuple(others))
        self._vips = require("pyvips", extra="pathology", why="reading slides")
        self._pages = pages
        self._others = others
        self._open: dict[int, Any] = {}

    def _image(self, page: _Page) -> Any:
        try:
            image = self._vips.Image.tiffload(str(self.path), **page.place, fail_on="warning", revalidate=True)
        except self._vips.Error as error:
            raise ReadError(f"{self.path.name}: {_reason(error)}") from error
        if image.format != "uchar" or image.bands not in (1, 3, 4) or image.interpretation not in _RGB_LIKE:
            kind = f"{image.bands} bands of {image.format} ({image.interpretation})"
            raise ReadError(f"{self.path.name}: {kind}; expected RGB of 8 bits")
        return image

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        if level not in self._open:
            image = self._image(self._pages[level])
            self._open[level] = (self._vips.Region.new(image), image.bands)
            self._noted()
        region, bands = self._open[level]
        place = f"level {level}, {width} x {height} pixels at {x}, {y}"
        try:
            data = region.fetch(x, y, width, height)
        except self._vips.Error as error:
            raise ReadError(f"{self.path.name}: {place}: {_reason(error)}") from error
        if damage := self._noted():
            del self._open[level]  # its cache holds the damaged tiles, and would not note them again
            raise ReadError(f"{self.path.name}: {place}: {damage}")
        return _rgb(np.frombuffer(data, np.uint8).reshape(height, width, bands))

    def _noted(self) -> str:
        """Return what libvips has noted of JPEG data since it was asked last: it fills what is damaged, and goes on."""
        said = str(self._vips.Error("").detail)
        return next((line for line in said.splitlines() if line.startswith("VipsJpeg: ")), "") if said else ""

    def read_associated(self, name: str) -> NDArray[np.uint8]:
        image = self._image(self._others[name])
        self._noted()
        try:
            data = np.frombuffer(image.write_to_memory(), np.uint8)
        except self._vips.Error as error:
            raise ReadError(f"{self.path.name}: image {name}: {_reason(error)}") from error
        if damage := self._noted():
            raise ReadError(f"{self.path.name}: image {name}: {damage}")
        return _rgb(data.reshape(image.height, image.width, image.bands))

    def close(self) -> None:
        self._open.clear()


@dataclass(frozen=True)
class _Page:
    """An image in a TIFF file: its size, and where libvips finds it."""

    size_xy: tuple[int, int]
    place: Mapping[str, int]


def _open_tiff(path: Path, openslide: Any) -> Slide | None:
    """Open a TIFF-like slide; ``None`` if it is no TIFF file, or libvips can't decode it."""
    tifffile = require("tifffile", extra="pathology", why="reading slides")
    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # of damaged files it prints lines that name neither file nor reason
    page_links(path)  # tifffile would follow a circle of images without end
    try:
        with tifffile.TiffFile(path) as file:
            chain = {page.offset: number for number, page in enumerate(file.pages)}
            first, *others = file.series
            _require_plane(path, first, file)
            pages = [_page_of(level.keyframe, chain, number) for number, level in enumerate(first.levels)]
            named = {(other.name or f"image {number}").lower(): other for number, other in enumerate(others, 1)}
            extra = {name: _page_of(other.keyframe, chain, 0) for name, other in named.items()}
            mpp = _mpp_of(file)
            properties = {"tiff.ImageDescription": str(file.pages[0].description)}
    except DAMAGES:
        return None
    if not all(min(page.size_xy) > 0 for page in (*pages, *extra.values())):
        raise ReadError(f"{path.name}: damaged: an image of 0 pixels")
    if openslide is not None:
        with suppress(openslide.OpenSlideError), openslide.OpenSlide(str(path)) as other:
            properties |= {str(key): str(value) for key, value in other.properties.items()}
            mpp = _mpp_in(properties) or mpp
    slide = _VipsSlide(path, pages, mpp, properties, extra)
    try:
        for level in range(len(pages)):
            slide._image(slide._pages[level])
        slide.read_region(level_px=(0, 0), size=(1, 1))
    except ReadError:
        slide.close()
        if openslide is None:
            raise
        return None
    return slide


def _require_plane(path: Path, series: Any, file: Any) -> None:
    """Raise an error if the first image has several planes (channels, depths, times): one alone would be wrong.

    The focal planes of an Aperio slide are no error: as in all readers, the first of them is the slide.

    Raises
    ------
    ReadError
        When it has several.
    """
    more = {axis: int(count) for axis, count in zip(series.axes, series.shape, strict=True) if axis not in "YXS"}
    if math.prod(more.values()) > 1 and not file.is_svs:
        planes = " x ".join(f"{axis} {count}" for axis, count in more.items())
        raise ReadError(f"{path.name}: several planes ({planes}); expected one of RGB or grey: split or merge them")


def _page_of(page: Any, chain: Mapping[int, int], level: int) -> _Page:
    size = (int(page.imagewidth), int(page.imagelength))
    if page.offset in chain:
        return _Page(size, {"page": chain[page.offset]})
    return _Page(size, {"page": 0, "subifd": level - 1})


def downsample(whole_xy: tuple[int, int], size_xy: tuple[int, int]) -> float:
    """Return how many pixels of level 0 a pixel of a level covers.

    Levels are made by whole factors and their sizes rounded, so that the ratio of the sizes would be a little wrong, by
    dozens of pixels at the far end of a slide.

    Examples
    --------
    >>> downsample((2045, 1301), (1023, 651)), downsample((1000, 1000), (400, 400))
    (2.0, 2.5)
    """
    ratio = sum(whole / own for whole, own in zip(whole_xy, size_xy, strict=True)) / 2
    factor = round(ratio)
    is_whole = all(abs(whole / factor - own) <= 1 for whole, own in zip(whole_xy, size_xy, strict=True))
    return float(factor) if is_whole else ratio


def _mpp_of(file: Any) -> tuple[float, float] | None:
    """Return the resolution that OME-XML, Aperio's description or the resolution tags tell."""
    page = file.pages[0]
    text = str(page.description)
    if file.is_ome and (pixels := re.search(r"<Pixels\b[^>]*>", text)):
        found = [_ome_length(pixels[0], axis) for axis in "XY"]
        if all(found):
            return _plausible(*found)
    if match := re.search(r"\bMPP\s*=\s*([0-9.]+)", text):
        return _plausible(float(match[1]), float(match[1]))
    unit = {2: 25_400.0, 3: 10_000.0}.get(int(page.resolutionunit or 0))
    if unit is None:
        return None
    dots = [_ratio(page.tags.get(name)) for name in ("XResolution", "YResolution")]
    return _plausible(*(unit / value for value in dots)) if all(dots) else None


def _ome_length(text: str, axis: str) -> float:
    value = re.search(rf'\bPhysicalSize{axis}="([0-9.eE+-]+)"', text)
    unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', text)
    return float(value[1]) * _OME_UNITS.get(unit[1] if unit else "µm", math.nan) if value else 0.0


def _ratio(tag: Any) -> float:
    value = getattr(tag, "value", (0, 1))
    return value[0] / value[1] if value[1] else 0.0


def _mpp_in(properties: Mapping[str, str]) -> tuple[float, float] | None:
    try:
        return _plausible(float(properties["openslide.mpp-x"]), float(properties["openslide.mpp-y"]))
    except (KeyError, ValueError):
        return None


def _plausible(x: float, y: float) -> tuple[float, float] | None:
    return (x, y) if all(math.isfinite(value) and 0 < value <= _MOST_MPP for value in (x, y)) else None


class _OpenSlideSlide(Slide):
    """A slide that OpenSlide reads."""

    def __init__(self, path: Path, openslide: Any) -> None:
        self._library = openslide
        self._found = openslide.OpenSlide(str(path))
        sizes = self._found.level_dimensions
        levels = tuple(Level(size, downsample(sizes[0], size)) for size in sizes)
        properties = {str(key): str(value) for key, value in self._found.properties.items()}
        super().__init__(path, levels, _mpp_in(properties), properties, tuple(self._found.associated_images))
        self._downsamples = self._found.level_downsamples

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        scale = self._downsamples[level]  # its own: it divides by it again
        place = (round(x * scale), round(y * scale))
        with self._errors_named(f"level {level}"):
            return _rgb(np.asarray(self._found.read_region(place, level, (width, height))))

    def read_associated(self, name: str) -> NDArray[np.uint8]:
        with self._errors_named(f"image {name}"):
            return _rgb(np.asarray(self._found.associated_images[name]))

    @contextmanager
    def _errors_named(self, what: str) -> Iterator[None]:
        """Name what can't be read, and open the file again: OpenSlide reads nothing more after an error."""
        try:
            yield
        except self._library.OpenSlideError as error:
            with suppress(self._library.OpenSlideError):
                again = self._library.OpenSlide(str(self.path))
                self._found.close()
                self._found = again
            raise ReadError(f"{self.path.name}: {what}: {error}") from error

    def close(self) -> None:
        self._found.close()


def _open_any(path: Path, openslide: Any) -> Slide:
    try:
        return _OpenSlideSlide(path, openslide)
    except openslide.OpenSlideError as error:
        raise ReadError(f"{path.name}: {error}") from error


def _rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB of grey, RGB or RGBA; what is transparent is white."""
    bands = pixels.shape[2]
    if bands == 3:
        return pixels
    if bands == 1:
        return np.repeat(pixels, 3, axis=2)
    alpha = pixels[..., 3:]
    if alpha.min() == 255:
        return pixels[..., :3]
    mixed = pixels[..., :3].astype(np.uint16) * alpha + _WHITE * (255 - alpha.astype(np.uint16))
    return ((mixed + 127) // 255).astype(np.uint8)


def _reason(error: Exception) -> str:
    """Return the last line of libvips' messages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "can't be read"
