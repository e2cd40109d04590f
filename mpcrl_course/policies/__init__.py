"""Ways to act: one file per box of the taxonomy."""
