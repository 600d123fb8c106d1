"""The values that the rest of the package is built from; imports no other folder of the package."""
