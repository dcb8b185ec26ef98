"""DICOM in, results out: a durable inbox between modalities, the service and archives."""
