"""Environments side by side: in this process or in workers."""
