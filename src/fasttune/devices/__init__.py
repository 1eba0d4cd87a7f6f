"""What the machine has, and who has how much of it."""
