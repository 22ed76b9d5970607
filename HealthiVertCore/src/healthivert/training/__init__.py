"""Making training samples from spines, and training generators on them."""
