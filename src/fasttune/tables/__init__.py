"""Reports and trials as columns, and what is compared and chosen in them."""
