"""This tree's update beside another revision's, in turns."""
