"""The parts put together: the application, its server, and files without a server."""
