"""Where connections are opened, and the tables they speak to."""
