"""Build with blocks: the construction tasks of Bapst et al. 2019, in two-dimensional rigid-body physics."""
