"""The shipped settings: run for real where a program is here, read where it is not."""
