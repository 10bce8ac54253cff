"""The Shelfcast service: sales in over HTTP, kept in Postgres, learned from in jobs, forecasts out. It uses `models`."""
