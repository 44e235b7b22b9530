"""The studies that have names: which conditions, environments and budgets each has."""
