"""EAGLE on one machine: the method, its conditioners, its step sizes."""
