"""Results as Plotly figures and as tables of text: the same for pages and reports."""
