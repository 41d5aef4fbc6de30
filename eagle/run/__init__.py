"""From a problem to its result: a plan, the loop over a method's steps, batches."""
