"""Decoded images, and what JPEG files and DICOM share."""
