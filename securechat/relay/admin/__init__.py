"""What the operator does to a relay: by a socket while it runs, or to its store while it does not."""
