"""Results on pages: images, predictions, charts, blocks of reports and heat maps."""
