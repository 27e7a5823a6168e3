"""What tests stand on: real servers, fakes, and ways to look inside."""
