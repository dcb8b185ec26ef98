"""Leased work: the workers' loop, and the analysis of objects.

A *job* is a received object; a *delivery*, a job's results for one destination. A worker
*leases* work exclusively until it is done, postponed, or a *dead letter*, which an operator may
retry. A dead worker's lease expires.
"""
