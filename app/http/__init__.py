"""What every route shares: how requests are read strictly, bounded, counted and answered, and the document that says so."""
