"""The application, its server, and files without a server."""
