"""The tests; a package by name, as some installed ones carry a folder of this name."""
