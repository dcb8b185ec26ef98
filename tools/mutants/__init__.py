"""Mutation testing: which small changes of the product code no test notices."""
