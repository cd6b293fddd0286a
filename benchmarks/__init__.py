"""Speed side by side in one process, and how often intervals hold; no part of the product."""
