"""Every test of the project; a folder is a section of `./dev test`."""
