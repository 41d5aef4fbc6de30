"""What is asked and what is answered: options, blocks, probes and their judgement, the result."""
