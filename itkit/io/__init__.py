"""Files in, files out: the only layer that opens a path."""
