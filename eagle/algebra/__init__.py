"""Blocks and what is done with them: one matrix or many, in memory, on a device, as an operator."""
