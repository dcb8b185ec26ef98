"""Results for archives and records: DICOM Structured Reports, Secondary Captures, FHIR.

What a source's header says of a patient goes from the object that was received into the objects
that are made of it, and nowhere else.
"""
