"""What is known of series beside their sales: items, locations, calendar, the list of series."""
