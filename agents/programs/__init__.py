"""How updates and acting are carried out: eager, compiled, captured, or for many agents at once."""
