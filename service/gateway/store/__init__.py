"""The inbox: database and spool."""
