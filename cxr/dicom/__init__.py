"""DICOM Part 10 files to grey images."""
