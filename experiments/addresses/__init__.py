"""Studies whose folder is an address: mirrored as they run, shared by machines, read from anywhere."""
