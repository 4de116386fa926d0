"""What relay and client both do about a disk: files that must be whole, and one that must not be."""
