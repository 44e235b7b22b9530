"""Crafter: as upstream has it, faster, and in symbols."""
