"""The version, in one place: the package, the files it writes and its build read it here."""

VERSION = "5.0.0.dev0"
