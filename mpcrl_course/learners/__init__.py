"""Ways to learn: one algorithm a file, its loop visible."""
