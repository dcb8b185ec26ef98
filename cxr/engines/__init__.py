"""Engine options that export and the service share. No engine is imported here."""
