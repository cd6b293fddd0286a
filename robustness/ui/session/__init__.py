"""Who has a page open, what they may do, and what is remembered for them."""
