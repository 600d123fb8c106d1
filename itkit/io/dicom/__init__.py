"""DICOM: files to series, series to volumes and labels, and back."""
