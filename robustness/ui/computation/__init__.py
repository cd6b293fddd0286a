"""Long work, jobs and cached calls behind the pages."""
