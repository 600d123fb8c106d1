"""The version of ITKIT, in one place: the package, its build and the files it writes all use it."""

VERSION = "5.0.0"
