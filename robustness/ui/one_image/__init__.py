"""The page One image: its views, and what they share."""
