"""Options of the engines, which export and the service share; no engine is imported here."""
