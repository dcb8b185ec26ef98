"""Engine options that export and the service share."""
