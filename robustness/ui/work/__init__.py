"""Long work on a page: taken in turn, shown, cancelled, kept."""
