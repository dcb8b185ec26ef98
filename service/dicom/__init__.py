"""Results for archives and records: DICOM Structured Reports, Secondary Captures, FHIR."""
