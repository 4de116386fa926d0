"""What the operator does to a relay."""
