"""The meanings that names had in earlier clients, a module for each."""
