"""Leased work: the loop of every worker, and the analysis of received objects.

A *job* is one received object on its way to its results, and a *delivery* the results of one job
on their way to one destination. A worker *leases* the next piece of work, so that nobody else does
it, and ends the lease with one of three outcomes: the work is done, postponed, or given up. Work
that is given up is a *dead letter*: it is kept until an operator retries it or its time is over.
The lease of a worker that died runs out, and another takes the work over.
"""
