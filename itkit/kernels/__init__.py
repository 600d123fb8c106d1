"""Voxel loops that determine the speed of a command, each in two forms that return the same bits: C and numpy.

Arrays are ``(Z, Y, X)`` of bool, int8 to int64, uint8 to uint64, float32 or float64. Results are C-contiguous; inputs
may have any strides. A multi-channel volume is handled one channel (``array[..., c]``) at a time.

The compiled part is an optional extension. To use numpy instead, set ``ITKIT_NATIVE=0`` or call
:func:`itkit.kernels.dispatch.forced_backend`.
"""
