"""What travels: the wire, contracts, windows, histograms, topics, errors and settings. Importing this loads nothing heavy."""
