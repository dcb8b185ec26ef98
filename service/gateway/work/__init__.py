"""The worker threads and what they do with a job."""
