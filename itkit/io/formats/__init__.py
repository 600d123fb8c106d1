"""Volume files: headers of each format, and one way to their voxels."""
