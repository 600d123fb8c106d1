"""Byte streams: DEFLATE and checksums."""
