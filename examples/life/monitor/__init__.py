"""What shows the life to people."""
