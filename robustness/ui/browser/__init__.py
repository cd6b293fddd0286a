"""What the browser runs, and the one place that makes HTML."""
