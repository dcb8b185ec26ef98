"""Leased work: the loop of every worker, and the analysis of received objects.

A *job* is one received object; a *delivery* is the results of one job for one destination. A
worker *leases* work, so that nobody else does it, until it is done, postponed, or given up as a
*dead letter*, which an operator may retry. The lease of a worker that died runs out.
"""
