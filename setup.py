"""Builds the compiled kernels; everything else stands in pyproject.toml.

The extension is optional: without a compiler the installation succeeds, and numpy does the work. The environment
variable ``ITKIT_BUILD`` decides otherwise: ``native`` fails without a compiler, as wheels for release must, and
``pure`` builds the wheel for every platform that has no other.
"""

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("itkit/kernels/native")
FLAGS = {
    "msvc": ["/O2", "/fp:precise", "/std:c11"],
    "unix": ["-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"],
}
BUILD = os.environ.get("ITKIT_BUILD", "")
if BUILD not in ("", "native", "pure"):
    raise SystemExit(f"ITKIT_BUILD: expected native, pure or nothing; got {BUILD!r}")


class BuildKernels(build_ext):
    """Choose flags by compiler: none for one processor, and no fused multiply-add, which would change results."""

    def build_extension(self, ext: Extension) -> None:
        """Build one extension."""
        ext.extra_compile_args = FLAGS["msvc" if self.compiler.compiler_type == "msvc" else "unix"]
        super().build_extension(ext)


KERNELS = Extension(
    "itkit.kernels._native",
    sources=sorted(str(path) for path in NATIVE.rglob("*.c")),
    depends=sorted(str(path) for path in NATIVE.rglob("*.h")),
    py_limited_api=True,
    optional=BUILD != "native",
)
setup(
    ext_modules=[] if BUILD == "pure" else [KERNELS],
    exclude_package_data={"": ["*.c", "*.h"]},  # in the source distribution, not in wheels
    cmdclass={"build_ext": BuildKernels},
    options={} if BUILD == "pure" else {"bdist_wheel": {"py_limited_api": "cp310"}},
)
