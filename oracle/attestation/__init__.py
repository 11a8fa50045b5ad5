"""Evidence: making quotes, and checking them."""
