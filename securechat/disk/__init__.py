"""Files that must be whole: what relay and client both do with a disk."""
