"""The intrinsic rewards, one file each, and the inverse model that two of them share."""
