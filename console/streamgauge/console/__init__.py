"""What a person touches: the command line, the embedded mode, the page."""
