"""What runs the life: the loop that ticks, and the journal of what happened."""
