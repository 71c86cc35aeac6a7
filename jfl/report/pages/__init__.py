"""Pages on one run or on several side by side: Markdown and HTML, from the same sections."""
