"""Who may read: session keys and sealing. No socket, no clock of its own."""
