"""Gradients of ``B A^+ C`` by formula, through torch and jax."""
