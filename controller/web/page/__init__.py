"""The status page: HTML made here, a style sheet, a script and a chart library; nothing from elsewhere."""
