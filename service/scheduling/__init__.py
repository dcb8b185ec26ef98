"""Admission, queues, batches and the pool of cores."""
