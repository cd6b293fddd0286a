"""Speed, measured side by side in one process; never imported by the product."""
