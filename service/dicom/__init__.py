"""Results as DICOM Structured Reports, Secondary Captures and FHIR."""
