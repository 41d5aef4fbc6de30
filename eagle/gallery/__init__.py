"""What shows the library at work: the demo and its pictures."""
