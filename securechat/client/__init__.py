"""The user's side: link, conversation, screens."""
