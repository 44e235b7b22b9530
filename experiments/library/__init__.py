"""What `import expedition` offers to a program."""
