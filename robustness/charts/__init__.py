"""Results as Plotly figures and text tables, for pages and reports."""
