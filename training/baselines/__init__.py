"""Agents of other libraries, on our environments and budgets."""
