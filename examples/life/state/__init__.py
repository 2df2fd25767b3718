"""What the life is: its self-state, and the file that carries it across a restart."""
