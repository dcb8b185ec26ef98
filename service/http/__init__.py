"""HTTP: requests to domain calls, domain errors to problems."""
