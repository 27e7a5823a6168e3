"""Tests of the repository itself: what must stay true of files, whatever they say."""
