"""The inbox's database and spool."""
