"""How large tiles and masks may be, and what they take in memory."""

from __future__ import annotations

LONGEST_TILE = 1 << 14
"""Side of a tile in pixels of the level under it, which are in memory at once."""
SLIDE_BYTES = 400 << 20
"""Bytes of any slide: an overview of at most 4096 pixels along a side, libvips' tiles, the tiles at hand."""
OUTLINE_BYTES = 12
"""Bytes for a pixel of a mask whose classes are outlined: classes, one class with a border, and where edges lie."""
