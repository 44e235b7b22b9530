"""What goes wrong on purpose: kills, damage, wrong inputs and disturbances, and what each costs."""
