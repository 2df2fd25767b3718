"""What happens to the life: events, the queue where they wait, and what makes them."""
