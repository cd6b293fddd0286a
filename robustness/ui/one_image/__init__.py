"""The page One image: its four views, and what they share."""
