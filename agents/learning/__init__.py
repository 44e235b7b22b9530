"""How agents learn: returns, the optimiser, and which components are frozen."""
