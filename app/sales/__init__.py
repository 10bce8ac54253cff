"""Sales in and out: posting, reading back, deleting, undoing."""
