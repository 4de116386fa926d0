"""What travels: messages, frames, bounded outboxes, addresses. Imports nothing else of ours."""
