"""Voxel loops that decide how fast a command is: compiled where possible, numpy everywhere, the same bits from both.

Arrays are ``(Z, Y, X)`` of bool, int8 to int64, uint8 to uint64, float32 or float64. Results are C-contiguous; inputs
may have any strides. A multi-channel volume is handled one channel (``array[..., c]``) at a time.

The compiled part is an optional extension. Set ``ITKIT_NATIVE=0``, or use :func:`forced_backend`, to do without it.
"""
