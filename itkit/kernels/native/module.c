/* An empty extension module, so that packaging builds this library; its functions are called through ctypes. */
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

#include "common.h"

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "Compiled kernels, called through ctypes.", 0, NULL, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }

/* Changes whenever a function's arguments change; itkit.kernels.dispatch.ABI must agree. */
EXPORT int itkit_abi(void) { return 7; }
