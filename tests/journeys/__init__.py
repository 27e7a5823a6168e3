"""Stories of people: each on one node and on two, with real servers and the real client library."""
