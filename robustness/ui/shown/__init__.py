"""Parts of pages that show results."""
