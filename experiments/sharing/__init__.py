"""Explorers for others: an exported folder, its model card and its licence."""
