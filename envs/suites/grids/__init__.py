"""Worlds of cells: mazes, Minipacman, Sokoban, MiniGrid, Go, and two small ones."""
